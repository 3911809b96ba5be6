"""`volsvc replay`, `generate`, `features` and `forecast`: recordings in, recordings or rows out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from volsvc.commands.arguments import time_argument
from volsvc.commands.progress import progress_bar
from volsvc.commands.reading import SummaryForm, print_summary
from volsvc.commands.row_writer import Row, check_output, write_rows
from volsvc.config.settings import Settings, SettingsError
from volsvc.daemon.listeners import PartsListener
from volsvc.domain import NS, format_time
from volsvc.features import PointGrid, SymbolTable, apply_recording
from volsvc.features.kernels.apply import NONE
from volsvc.models import Model, packaged, read_artefact
from volsvc.pipeline.producer import Producer
from volsvc.serving.factory import registered_model
from volsvc.serving.model_choice import BASELINE
from volsvc.sources.factory import file_source, row_options
from volsvc.sources.generator import Generator, GeneratorSpec
from volsvc.sources.recordings.bars import grouped, read_bars
from volsvc.sources.recordings.paths import files_of
from volsvc.sources.recordings.summary import ReadCounts
from volsvc.sources.recordings.tables.table import Table
from volsvc.sources.replay import FileSource
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics
from volsvc.transport.factory import build_bus

FEATURE_COLUMNS = ("symbol", "time", "price", "ret_mean", "ret_std", "n")
TICK_COLUMNS = ("symbol", "time", "price", "best_bid", "best_ask", "size", "side", "trade_id")
TRUTH_COLUMNS = ("true_sigma", "true_jump")


async def replay_files(
    settings: Settings, files: Sequence[Path], stop: asyncio.Event, summary: SummaryForm
) -> None:
    """Publish a recording to the configured topic until it ends or `stop` is set."""
    metrics = Metrics()
    listener = PartsListener(metrics, Health())
    source = file_source(settings, files, listener)
    bus = build_bus(settings, listener, settings.service.instance_id)
    try:
        with progress_bar(f"replaying {source.label}", lambda: source.fraction) as advance:
            producer = Producer(source, bus, settings.kafka.topic, metrics)
            work = asyncio.ensure_future(producer.run(advance))
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if work.done():
                # Raises the producer's error, if it has failed.
                work.result()
            work.cancel()
    finally:
        await bus.stop()
    print_summary(source.tables, source.counts, summary)


def generate_file(
    out: Path, *, minutes: float, seed: int, symbols: tuple[str, ...], start: str
) -> None:
    """Write generated ticks with the true volatility of each; raises SettingsError."""
    if not symbols:
        raise SettingsError("--symbols: name at least one symbol")
    start_ns = time_argument("--start", start)
    end_ns = start_ns + round(minutes * 60 * NS)
    spec = GeneratorSpec(symbols=symbols, seed=seed, start_ns=start_ns)
    reached_ns = start_ns

    def rows(advance: Callable[[int], None]) -> Iterator[Row]:
        nonlocal reached_ns
        for tick, sigma, jump in Generator(spec).ticks():
            reached_ns = min(tick.time_ns, end_ns)
            if tick.time_ns >= end_ns:
                return
            advance(1)
            fields = [getattr(tick, name) for name in TICK_COLUMNS[2:]]
            yield (tick.symbol, format_time(tick.time_ns), *fields, sigma, jump)

    def fraction() -> float:
        return (reached_ns - start_ns) / (end_ns - start_ns)

    with progress_bar(f"writing {out.name}", fraction) as advance:
        write_rows(out, (*TICK_COLUMNS, *TRUTH_COLUMNS), rows(advance))


def features_file(
    settings: Settings, files: Sequence[Path], out: Path, summary: SummaryForm
) -> None:
    """Write the features of a recording, computed by the engine of the daemon."""
    source = file_source(settings, files, PartsListener(Metrics(), Health()))
    check_output(out, [table.path for table in source.tables])
    table = SymbolTable(settings.features, grid=PointGrid())
    statuses: Counter[str] = Counter()

    def rows(advance: Callable[[int], None]) -> Iterator[Row]:
        for applied in apply_recording(table, source.ticks(), statuses, rows=True):
            advance(len(applied.results))
            taken = applied.results["applied"] != NONE
            symbols = np.broadcast_to(applied.results["symbol"][:, None], taken.shape)[taken]
            found = applied.rows[taken]
            yield from zip(
                map(table.symbol, symbols.tolist()),
                map(format_time, found["time_ns"].tolist()),
                *(found[name].tolist() for name in FEATURE_COLUMNS[2:]),
                strict=True,
            )

    with progress_bar(f"reading {source.label}", lambda: source.fraction) as advance:
        write_rows(out, FEATURE_COLUMNS, rows(advance))
    source.counts.classify(statuses)
    print_summary(source.tables, source.counts, summary)


@dataclass(frozen=True)
class ForecastOptions:
    """Options of `volsvc forecast`; `model` is a name or a path, see `_named_model`."""

    data: Sequence[Path]
    out: Path
    every_s: int
    horizons_s: Sequence[float]
    model: str
    summary: SummaryForm


def forecast_file(settings: Settings, options: ForecastOptions) -> None:
    """Write the forecasts that the service would have made on recordings of bars or ticks."""
    from volsvc.training.bars import minute_bars
    from volsvc.training.batch import COLUMNS, bar_points, forecast_rows, tick_points

    model = _named_model(settings, options.model)
    rows = row_options(settings)
    files = files_of(options.data)
    check_output(options.out, files)
    bars, ticks = grouped(files, rows)
    counts = ReadCounts()
    tables: list[Table] = []
    source: FileSource | None = None

    def forecasts(advance: Callable[[int], None]) -> Iterator[Row]:
        nonlocal source
        for group in bars:
            for symbol, series in read_bars(group, rows, counts, tables).items():
                due = bar_points(symbol, minute_bars(series), options.every_s)
                for rows_of_part in forecast_rows(model, due, options.horizons_s, bars=True):
                    advance(len(rows_of_part))
                    yield from rows_of_part
        for group in ticks:
            source = file_source(settings, group, PartsListener(Metrics(), Health()))
            statuses: Counter[str] = Counter()
            # A tick within the last step counts as fresh, however short `stale_after_s` is.
            fresh_s = max(settings.http.stale_after_s, options.every_s)
            grid = (options.every_s, fresh_s)
            due = tick_points(source.ticks(), settings.features, *grid, statuses)
            for rows_of_part in forecast_rows(model, due, options.horizons_s, bars=False):
                advance(len(rows_of_part))
                yield from rows_of_part
            source.counts.classify(statuses)
            counts.add(source.counts)
            tables.extend(source.tables)

    def fraction() -> float:
        return source.fraction if source else float(not ticks)

    with progress_bar(f"writing {options.out.name}", fraction) as advance:
        write_rows(options.out, COLUMNS, forecasts(advance))
    print_summary(tables, counts, options.summary)


def _named_model(settings: Settings, name: str) -> Model:
    """Return the model of a name: `ml` (packaged), `baseline`, `registry[:VERSION]`, or a path.

    Raises ArtefactError or RegistryAwayError.
    """
    if name == "baseline":
        return BASELINE
    source, _, version = name.partition(":")
    if source == "registry":
        return asyncio.run(registered_model(settings, version or None))
    return (packaged() if name == "ml" else read_artefact(Path(name))).model
