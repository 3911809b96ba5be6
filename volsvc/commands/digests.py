"""Digests of runs: computed from a recording, and compared between two runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from volsvc.commands.files import accepted
from volsvc.commands.progress import progress_bar
from volsvc.commands.row_writer import write_rows
from volsvc.config.settings import Settings
from volsvc.daemon.listeners import PartsListener
from volsvc.domain import SourceError
from volsvc.features import ClosedWindow, SymbolState, SymbolTable
from volsvc.models import (
    HORIZONS_S,
    MinuteClose,
    Model,
    Point,
    SymbolForecasts,
    forecast_point,
    minute_closes,
)
from volsvc.serving.factory import build_holder
from volsvc.sources.factory import file_source
from volsvc.sources.files import open_raw, text_of
from volsvc.sources.replay import FileSource
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics

# Of one symbol: the head of its chain by the start of the window.
Windows = dict[str, str]


def digests_file(settings: Settings, file: Path, out: Path) -> None:
    """Write the digest of every closed window of a recording, as a daemon's run has them."""
    source = file_source(settings, file, PartsListener(Metrics(), Health()))
    model = build_holder(settings).current.model
    with progress_bar(f"digesting {file.name}", lambda: source.fraction) as advance:
        closed = _windows(source, settings, model, advance)
        rows = ({"symbol": symbol, "digest": window.fields()} for symbol, window in closed)
        write_rows(out, ("symbol", "digest"), rows)


def _windows(
    source: FileSource, settings: Settings, model: Model, advance: Callable[[int], None]
) -> Iterator[tuple[str, ClosedWindow]]:
    table = SymbolTable(settings.features)
    horizon_s = settings.model.horizon_s
    horizons = tuple(sorted({*HORIZONS_S, horizon_s}))
    for state in accepted(source, table, advance):
        for window in _said(state, model, horizons, horizon_s):
            yield state.symbol, window


def _said(
    state: SymbolState, model: Model, horizons: tuple[float, ...], horizon_s: float
) -> Iterator[ClosedWindow]:
    """Say what the daemon says after this tick; the windows that it closes."""
    points: list[Point] = [*minute_closes(state)]
    if state.take_due():
        points.append(forecast_point(state))
    if not points:
        return
    forecasts = SymbolForecasts(model, points, horizons)
    for index, point in enumerate(points):
        if not isinstance(point, MinuteClose):
            state.digest.say(forecasts.snapshot(index, horizon_s))
            continue
        forecasts.learn(index)
        yield state.digest.close(point.ended.bar)


class Verdict(NamedTuple):
    """What a comparison came to: the windows that agree, and a sentence for each difference."""

    symbols: int
    windows: int
    differences: list[str]


def verify_files(first: Path, second: Path) -> Verdict:
    """Compare the digests of two runs.

    A file has JSON lines with `symbol` and `digest`: what `volsvc features --digests` writes, or
    the records of `ticks.features` as any client prints them. Windows that compaction has taken
    from one of them are passed over, since each head covers all before it. Raises SourceError.
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
        elif max(a) != max(b):
            ends = f"{max(a)} in {first}, {max(b)} in {second}"
            differences.append(f"{symbol}: the last windows are not the same: {ends}")
        else:
            agreed += len(common)
    return Verdict(len(runs[0].keys() & runs[1].keys()), agreed, differences)


def _read(path: Path, differences: list[str]) -> Mapping[str, Windows]:
    """The windows of each symbol; a run that contradicts itself differs from any other."""
    found: dict[str, Windows] = {}
    for line, record in _records(path):
        try:
            symbol, digest = record["symbol"], record["digest"]
            window, head = (digest["window"], digest["head"]) if digest else ("", "")
        except (KeyError, TypeError) as error:
            raise SourceError(f"{path}:{line}: has no symbol and digest") from error
        if not digest:
            continue
        known = found.setdefault(symbol, {}).setdefault(window, head)
        if known != head:
            differences.append(f"{symbol}: {path} has two heads for the window {window}")
    if not found:
        raise SourceError(f"{path}: holds no digests; export ticks.features, one record a line")
    return found


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with text_of(open_raw(path, "r"), path, "r") as file:
            for line, text in enumerate(file, 1):
                if text.strip():
                    yield line, json.loads(text)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise SourceError(f"{path}: is not JSON, one record a line: {error}") from error
