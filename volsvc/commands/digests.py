"""`volsvc features --digests` and `volsvc verify`: compute and compare the digests of runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from volsvc.commands.progress import progress_bar
from volsvc.commands.row_writer import check_output, write_rows
from volsvc.config.settings import Settings
from volsvc.daemon.listeners import PartsListener
from volsvc.domain import SourceError
from volsvc.features import ClosedWindow, SymbolTable, apply_recording
from volsvc.features.kernels.points import MINUTE
from volsvc.models import HORIZONS_S, Model, SymbolForecasts
from volsvc.serving.factory import build_holder
from volsvc.sources.factory import file_source
from volsvc.sources.recordings.tables.formats import open_raw, text_of
from volsvc.sources.recordings.tables.lines import DAMAGE
from volsvc.sources.replay import FileSource
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics

# The digests of one symbol: the chain's head by the start of the window, in RFC 3339.
WindowHeads = dict[str, str]


def digests_file(settings: Settings, files: Sequence[Path], out: Path) -> None:
    """Write the digest of every closed window of a recording, equal to those of a daemon's run."""
    source = file_source(settings, files, PartsListener(Metrics(), Health()))
    check_output(out, [table.path for table in source.tables])
    model = build_holder(settings).current.model
    with progress_bar(f"digesting {source.label}", lambda: source.fraction) as advance:
        closed = _closed_windows(source, settings, model, advance)
        rows = ((symbol, window.fields()) for symbol, window in closed)
        write_rows(out, ("symbol", "digest"), rows)


def _closed_windows(
    source: FileSource, settings: Settings, model: Model, advance: Callable[[int], None]
) -> Iterator[tuple[str, ClosedWindow]]:
    """Yield the symbol and the window of every minute that the recording closes."""
    table = SymbolTable(settings.features)
    horizon_s = settings.model.horizon_s
    # The consumer's horizons: the digest covers each of them.
    horizons = tuple(sorted({*HORIZONS_S, horizon_s}))
    for applied in apply_recording(table, source.columns(), Counter()):
        advance(len(applied.results))
        forecasts = SymbolForecasts(table, model, applied.points, horizons)
        forecasts.settle_without_outcomes()
        for index, (row, kind) in enumerate(applied.points[["symbol", "kind"]].tolist()):
            # The order of the links is part of the digest: first the minutes that ended before a
            # tick, then the forecast after it, as in the consumer.
            if kind == MINUTE:
                bar = applied.points["bar"][index : index + 1]
                closed = table.digest(row).close(int(bar["minute"][0]), bar.tobytes())
                yield table.symbol(row), closed
            else:
                table.digest(row).add_forecast(forecasts.point_forecast(index, horizon_s))


class Comparison(NamedTuple):
    """The result of comparing two runs: the windows that agree, and a line for each difference."""

    symbols: int
    windows: int
    differences: list[str]


def verify_files(first: Path, second: Path) -> bool:
    """Print the comparison of two runs, and return whether they are identical."""
    comparison = compare_digests(first, second)
    for difference in comparison.differences:
        print(difference)
    if not comparison.differences:
        print(f"identical: {comparison.symbols} symbols, {comparison.windows} windows")
    return not comparison.differences


def compare_digests(first: Path, second: Path) -> Comparison:
    """Compare the digests of two runs; raises SourceError if a file holds none.

    A file has JSON lines with `symbol` and `digest`: the output of `volsvc features --digests`, or
    the records of `ticks.features` as any Kafka client prints them. Windows that are in one file
    only are ignored, since compaction removes records and each head covers all before it.
    """
    differences: list[str] = []
    runs = [_read(path, differences) for path in (first, second)]
    agreed = 0
    for symbol in sorted(runs[0].keys() | runs[1].keys()):
        a, b = runs[0].get(symbol), runs[1].get(symbol)
        if a is None or b is None:
            differences.append(f"{symbol}: is missing in {first if a is None else second}")
            continue
        common = sorted(a.keys() & b.keys())
        wrong = next((window for window in common if a[window] != b[window]), None)
        if wrong is not None:
            heads = f"{a[wrong][:12]} in {first}, {b[wrong][:12]} in {second}"
            differences.append(f"{symbol}: the window {wrong} is the first that differs: {heads}")
        # Equal heads prove equal histories up to there only: a run that stops early must not pass.
        elif max(a) != max(b):
            ends = f"{max(a)} in {first}, {max(b)} in {second}"
            differences.append(f"{symbol}: the last windows differ: {ends}")
        else:
            agreed += len(common)
    return Comparison(len(runs[0].keys() & runs[1].keys()), agreed, differences)


def _read(path: Path, differences: list[str]) -> Mapping[str, WindowHeads]:
    """Return the windows of each symbol; two heads of one window count as a difference."""
    found: dict[str, WindowHeads] = {}
    for line, record in _records(path):
        try:
            symbol, digest = record["symbol"], record["digest"]
            window, head = (digest["window"], digest["head"]) if digest else ("", "")
        except (KeyError, TypeError) as error:
            raise SourceError(f"{path}:{line}: has no symbol and digest") from error
        # Records of a symbol's first minute have no closed window yet.
        if not digest:
            continue
        known = found.setdefault(symbol, {}).setdefault(window, head)
        if known != head:
            differences.append(f"{symbol}: {path} has two heads for the window {window}")
    if not found:
        raise SourceError(f"{path}: contains no digests; export ticks.features, one per line")
    return found


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield each JSON record with the number of its line; raises SourceError."""
    try:
        with text_of(open_raw(path, "r"), path, "r") as file:
            for line, text in enumerate(file, 1):
                if text.strip():
                    yield line, json.loads(text)
    except DAMAGE as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error
    except ValueError as error:
        raise SourceError(f"{path}: is not one JSON record per line: {error}") from error
