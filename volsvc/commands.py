"""What the commands do beside the daemon: replay, generate, features, forecast."""

from __future__ import annotations

import asyncio
import csv
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from volsvc.app import build_bus
from volsvc.config import Settings, SettingsError
from volsvc.domain import (
    NS,
    InvalidTickError,
    SourceError,
    format_time,
    parse_time,
)
from volsvc.features import Order, SymbolState, SymbolTable
from volsvc.health import Health
from volsvc.metrics import Metrics
from volsvc.model_setup import registered_model
from volsvc.models import BASELINE, Model, packaged, read_artefact
from volsvc.producer import Producer
from volsvc.progress import progress_bar
from volsvc.reporter import Reporter
from volsvc.source_setup import file_source
from volsvc.sources.files import file_format, open_raw, recordings_in, text_of
from volsvc.sources.generator import Generator, GeneratorSpec
from volsvc.sources.replay import FileSource

FEATURE_COLUMNS = ("symbol", "time", "price", "ret_mean", "ret_std", "n")
TICK_COLUMNS = ("symbol", "time", "price", "best_bid", "best_ask", "size", "side", "trade_id")
TRUTH_COLUMNS = ("true_sigma", "true_jump")
PARQUET_ROWS = 50_000


async def replay_file(settings: Settings, file: Path, stop: asyncio.Event) -> None:
    """Publish a recording to the configured topic until it ends or `stop` is set."""
    metrics = Metrics()
    reporter = Reporter(metrics, Health())
    source = file_source(settings, file, reporter)
    bus = build_bus(settings, reporter, settings.service.instance_id)
    try:
        with progress_bar(f"replaying {file.name}", lambda: source.fraction) as advance:
            producer = Producer(source, bus, settings.kafka.topic, metrics)
            work = asyncio.ensure_future(producer.run(advance))
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if work.done():
                work.result()
            work.cancel()
    finally:
        await bus.stop()


def generate_file(
    out: Path, *, minutes: float, seed: int, symbols: tuple[str, ...], start: str
) -> None:
    """Write generated ticks with the volatility that they were drawn with."""
    if not symbols:
        raise SettingsError("--symbols: name at least one symbol")
    try:
        start_ns = parse_time(start)
    except ValueError as error:
        raise SettingsError(f"--start: {error}") from error
    end_ns = start_ns + round(minutes * 60 * NS)
    spec = GeneratorSpec(symbols=symbols, seed=seed, start_ns=start_ns)
    reached_ns = start_ns

    def rows(advance: Callable[[int], None]) -> Iterator[Mapping[str, Any]]:
        nonlocal reached_ns
        for tick, sigma, jump in Generator(spec).ticks():
            reached_ns = min(tick.time_ns, end_ns)
            if tick.time_ns >= end_ns:
                return
            advance(1)
            fields = {name: getattr(tick, name) for name in TICK_COLUMNS if name != "time"}
            yield {
                **fields,
                "time": format_time(tick.time_ns),
                "true_sigma": sigma,
                "true_jump": jump,
            }

    def fraction() -> float:
        return (reached_ns - start_ns) / (end_ns - start_ns)

    with progress_bar(f"writing {out.name}", fraction) as advance:
        write_rows(out, (*TICK_COLUMNS, *TRUTH_COLUMNS), rows(advance))


def features_file(settings: Settings, file: Path, out: Path) -> None:
    """Write the features of a recording through the engine that the daemon runs."""
    source = file_source(settings, file, Reporter(Metrics(), Health()))
    table = SymbolTable(settings.features)
    with progress_bar(f"reading {file.name}", lambda: source.fraction) as advance:
        states = accepted(source, table, advance)
        rows = (state.row.fields() for state in states if state.row is not None)
        write_rows(out, FEATURE_COLUMNS, ({k: row[k] for k in FEATURE_COLUMNS} for row in rows))


def accepted(
    source: FileSource, table: SymbolTable, advance: Callable[[int], None]
) -> Iterator[SymbolState]:
    """The state of its symbol after each tick that is taken in."""
    for tick in source.ticks():
        advance(1)
        try:
            state = table.state_for(tick.symbol, tick.time_ns)
        except InvalidTickError:
            continue
        if state.update(tick) is Order.NEW:
            yield state


@dataclass(frozen=True)
class ForecastOrder:
    """What to forecast: recordings, how often and how far ahead, and by which model."""

    data: Sequence[Path]
    out: Path
    every_s: int
    horizons_s: Sequence[float]
    model: str


def forecast_file(settings: Settings, order: ForecastOrder) -> None:
    """Write what the service would have said of recordings of bars or ticks."""
    from volsvc.training.batch import COLUMNS

    model = _named_model(settings, order.model)
    files = [file for path in order.data for file in recordings_in(path)]
    done = 0

    def rows(advance: Callable[[int], None]) -> Iterator[Mapping[str, Any]]:
        nonlocal done
        for file in files:
            for row in _forecasts(settings, file, model, order):
                advance(1)
                yield row
            done += 1

    with progress_bar(f"writing {order.out.name}", lambda: done / len(files)) as advance:
        write_rows(order.out, COLUMNS, rows(advance))


def _named_model(settings: Settings, name: str) -> Model:
    """`ml` from the package, `baseline`, `registry` or `registry:VERSION`, an artefact's path.

    Raises ArtefactError or RegistryAwayError.
    """
    if name == "baseline":
        return BASELINE
    source, _, version = name.partition(":")
    if source == "registry":
        return asyncio.run(registered_model(settings, version or None))
    return (packaged() if name == "ml" else read_artefact(Path(name))).model


def _forecasts(
    settings: Settings, file: Path, model: Model, order: ForecastOrder
) -> Iterator[Mapping[str, Any]]:
    from volsvc.training.bars import is_bars, read_bars
    from volsvc.training.batch import due_of_bars, due_of_ticks, forecast_rows

    if is_bars(file):
        for symbol, bars in read_bars(file).items():
            due = due_of_bars(symbol, bars, order.every_s)
            yield from forecast_rows(model, due, order.horizons_s, bars=True)
        return
    ticks = file_source(settings, file, Reporter(Metrics(), Health())).ticks()
    fresh_s = max(settings.http.stale_after_s, order.every_s)
    due = due_of_ticks(ticks, settings.features, order.every_s, fresh_s)
    yield from forecast_rows(model, due, order.horizons_s, bars=False)


def write_rows(out: Path, columns: Sequence[str], rows: Iterator[Mapping[str, Any]]) -> None:
    """Write rows as CSV, NDJSON or Parquet, by the extension; nothing half is left behind.

    Raises SourceError when the file cannot be written.
    """
    style = file_format(out)
    if not out.parent.is_dir():
        raise SourceError(f"{out}: there is no folder {out.parent}")
    part = out.with_name(f".{out.name}")
    # The compression goes by the extension, so the hidden name must end as the final one does.
    try:
        {"csv": _write_csv, "ndjson": _write_json, "parquet": _write_parquet}[style](
            part, columns, rows
        )
        part.replace(out)
    except OSError as error:
        raise SourceError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_csv(out: Path, columns: Sequence[str], rows: Iterator[Mapping[str, Any]]) -> None:
    with text_of(open_raw(out, "w"), out, "w") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_json(out: Path, columns: Sequence[str], rows: Iterator[Mapping[str, Any]]) -> None:
    with text_of(open_raw(out, "w"), out, "w") as file:
        for row in rows:
            file.write(msgspec.json.encode({c: row[c] for c in columns}).decode() + "\n")


def _write_parquet(out: Path, columns: Sequence[str], rows: Iterator[Mapping[str, Any]]) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise SourceError("Parquet needs an extra: pip install 'volsvc[parquet]'") from error
    writer = None
    try:
        while chunk := list(itertools.islice(rows, PARQUET_ROWS)):
            table = pa.Table.from_pylist([{c: row[c] for c in columns} for row in chunk])
            writer = writer or parquet.ParquetWriter(out, table.schema)
            writer.write_table(table.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()
