"""Batch scoring: what the service would have said of a recording, at each point of a time grid.

The engine, the calibration and the model are those of the daemon; a row knows only what was seen
before its time, whatever comes after it in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, InvalidTickError, Tick, Verdict, format_time
from volsvc.features import MINUTE_NS, MinuteBar, SymbolState, SymbolTable, parkinson
from volsvc.models import (
    HORIZONS_S,
    BarAdapter,
    ForecastPoint,
    Model,
    Point,
    SymbolForecasts,
    forecast_point,
    minute_closes,
)
from volsvc.models.base import Array

COLUMNS: Final = (
    "ts",
    "symbol",
    "horizon_s",
    "sigma",
    "lo",
    "hi",
    "p_spike",
    "threshold",
    "quality",
    "model_variant",
    "version",
)
# Moments that one call of the model serves.
CHUNK: Final = 512


class Due(NamedTuple):
    """A moment to learn from or, with `time_ns`, to say a forecast at."""

    point: Point
    time_ns: int | None = None
    quality: Verdict = "ok"


def due_of_bars(symbol: str, bars: Iterable[MinuteBar], every_s: int) -> Iterator[Due]:
    """The ends of minutes, those without trades included until their silence is a gap."""
    state = SymbolState(symbol, FeatureSettings())
    for bar in bars:
        if state.engine.minute is not None:
            for minute in range(state.engine.minute + 1, bar.minute):
                if state.engine.is_gap(minute + 1):
                    break
                if _due(minute, every_s):
                    yield _end_of(state, minute, state.engine.row(minute))
        state.end_minute(bar, parkinson(bar.high, bar.low))
        (close,) = minute_closes(state)
        yield Due(close)
        if _due(bar.minute, every_s):
            yield _end_of(state, bar.minute, close.scales)


def _due(minute: int, every_s: int) -> bool:
    return (minute + 1) * 60 % every_s < 60


def _end_of(state: SymbolState, minute: int, scales: Array) -> Due:
    usual = state.realised
    point = ForecastPoint(state, scales, usual.log_usual, usual.counts)
    return Due(point, (minute + 1) * MINUTE_NS, "ok" if state.warm else "warming")


def due_of_ticks(
    ticks: Iterable[Tick], settings: FeatureSettings, every_s: int, fresh_s: float
) -> Iterator[Due]:
    """Multiples of `every_s`, each with what was known of a symbol just before.

    None where a symbol's newest tick is older than `fresh_s`.
    """
    table = SymbolTable(settings)
    said: dict[str, int] = {}
    for tick in ticks:
        try:
            state = table.state_for(tick.symbol, tick.time_ns)
        except InvalidTickError:
            continue
        for time_ns in _passed(state, tick.time_ns, every_s * NS, round(fresh_s * NS)):
            if time_ns > said.get(tick.symbol, 0):
                said[tick.symbol] = time_ns
                yield Due(forecast_point(state), time_ns, state.quality().verdict)
        state.update(tick)
        yield from map(Due, minute_closes(state))


def _passed(state: SymbolState, until_ns: int, every_ns: int, fresh_ns: int) -> Sequence[int]:
    """Multiples of `every_ns` after the newest tick, up to `until_ns` and while it is fresh."""
    if state.row is None:
        return ()
    newest_ns = state.row.time_ns
    first = (newest_ns // every_ns + 1) * every_ns
    return range(first, min(until_ns, newest_ns + fresh_ns) + 1, every_ns)


def forecast_rows(
    model: Model, due: Iterable[Due], horizons_s: Sequence[float], *, bars: bool
) -> Iterator[Mapping[str, Any]]:
    """Rows of COLUMNS, one a horizon; `bars` says in whose unit a minute's variance is."""
    reader = BarAdapter(model) if bars else model
    read = tuple(sorted({*HORIZONS_S, *horizons_s}))
    stream = iter(due)
    while chunk := list(islice(stream, CHUNK)):
        forecasts = SymbolForecasts(reader, [item.point for item in chunk], read)
        for index, item in enumerate(chunk):
            if item.time_ns is None:
                forecasts.learn(index)
            else:
                yield from _rows(model, item, forecasts, index, horizons_s)


def _rows(
    model: Model, item: Due, forecasts: SymbolForecasts, index: int, horizons_s: Sequence[float]
) -> Iterator[Mapping[str, Any]]:
    assert item.time_ns is not None, "only what has a time is said"
    ts = format_time(item.time_ns)
    for said in forecasts.predictions(index):
        if said.horizon_s in horizons_s:
            values = (
                ts,
                item.point.state.symbol,
                said.horizon_s,
                said.sigma,
                said.lo,
                said.hi,
                said.score,
                said.threshold,
                item.quality,
                model.variant,
                model.version,
            )
            yield dict(zip(COLUMNS, values, strict=True))
