"""Batch scoring: the forecasts that the service would have made on a recording.

They are made at each point of a time grid, by the engine, the calibration and the model of the
daemon. A row depends on the data before its time alone, whatever follows in the file.
"""

from __future__ import annotations

from collections import Counter
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
# Points that one call of the model serves; the rows do not depend on it.
CHUNK: Final = 512


class BatchPoint(NamedTuple):
    """The end of a minute to calibrate on or, with `time_ns`, a grid time to forecast at."""

    point: Point
    time_ns: int | None = None
    quality: Verdict = "ok"


def bar_points(symbol: str, bars: Iterable[MinuteBar], every_s: int) -> Iterator[BatchPoint]:
    """Yield the points of recorded bars, in order of time.

    The grid includes minutes without trades, until their silence counts as a gap of the feed.
    """
    state = SymbolState(symbol, FeatureSettings())
    for bar in bars:
        if state.minutes.multiscale.minute is not None:
            for minute in range(state.minutes.multiscale.minute + 1, bar.minute):
                if state.minutes.multiscale.is_gap(minute + 1):
                    break
                if _on_grid(minute, every_s):
                    yield _end_of(state, minute, state.minutes.multiscale.row(minute))
        state.minutes.close(bar, parkinson(bar.high, bar.low))
        (close,) = minute_closes(state)
        # The order of the daemon: the end of a minute is learnt from before it is forecast at.
        yield BatchPoint(close)
        if _on_grid(bar.minute, every_s):
            yield _end_of(state, bar.minute, close.scales)


def _on_grid(minute: int, every_s: int) -> bool:
    """Return whether a multiple of `every_s` falls in the minute that follows."""
    return (minute + 1) * 60 % every_s < 60


def _end_of(state: SymbolState, minute: int, scales: Array) -> BatchPoint:
    past = state.minutes.realised
    point = ForecastPoint(state, scales, past.log_thresholds, past.counts)
    return BatchPoint(point, (minute + 1) * MINUTE_NS, "ok" if state.minutes.warm else "warming")


def tick_points(
    ticks: Iterable[Tick],
    settings: FeatureSettings,
    every_s: int,
    fresh_s: float,
    statuses: Counter[str] | None = None,
) -> Iterator[BatchPoint]:
    """Yield the points of recorded ticks, each with the symbol's state just before its time.

    There is no forecast where a symbol's newest tick is older than `fresh_s`. `statuses` counts the
    ticks by what became of them.
    """
    statuses = Counter() if statuses is None else statuses
    table = SymbolTable(settings)
    forecast_until: dict[str, int] = {}
    for tick in ticks:
        try:
            state = table.state_for(tick.symbol, tick.time_ns)
        except InvalidTickError as error:
            statuses[error.reason] += 1
            continue
        for time_ns in _passed(state, tick.time_ns, every_s * NS, round(fresh_s * NS)):
            # A tick that is not accepted leaves the newest row, so the same times pass again.
            if time_ns > forecast_until.get(tick.symbol, 0):
                forecast_until[tick.symbol] = time_ns
                yield BatchPoint(forecast_point(state), time_ns, state.quality().verdict)
        statuses[state.add(tick).value] += 1
        while state.advance() is not None:
            yield from map(BatchPoint, minute_closes(state))
    table.tally(statuses)
    # No grid time follows the last tick, so that what still waits can add no point: the minutes
    # that it would end are learnt from by no forecast.


def _passed(state: SymbolState, until_ns: int, every_ns: int, fresh_ns: int) -> Sequence[int]:
    """Return the multiples of `every_ns` from the newest tick to `until_ns`, while it is fresh."""
    if state.row is None:
        return ()
    newest_ns = state.row.time_ns
    first = (newest_ns // every_ns + 1) * every_ns
    return range(first, min(until_ns, newest_ns + fresh_ns) + 1, every_ns)


def forecast_rows(
    model: Model, points: Iterable[BatchPoint], horizons_s: Sequence[float], *, bars: bool
) -> Iterator[Mapping[str, Any]]:
    """Yield rows of COLUMNS, one for each grid time and horizon.

    With `bars` the forecasts one minute ahead are of the range; see BarAdapter.
    """
    adapted = BarAdapter(model) if bars else model
    horizons = tuple(sorted({*HORIZONS_S, *horizons_s}))
    remaining = iter(points)
    while chunk := list(islice(remaining, CHUNK)):
        forecasts = SymbolForecasts(adapted, [item.point for item in chunk], horizons)
        for index, item in enumerate(chunk):
            if item.time_ns is None:
                forecasts.learn(index)
            else:
                yield from _rows(model, item, forecasts, index, horizons_s)


def _rows(
    model: Model,
    item: BatchPoint,
    forecasts: SymbolForecasts,
    index: int,
    horizons_s: Sequence[float],
) -> Iterator[Mapping[str, Any]]:
    assert item.time_ns is not None, "only a grid time is forecast at"
    ts = format_time(item.time_ns)
    for prediction in forecasts.predictions(index):
        if prediction.horizon_s in horizons_s:
            values = (
                ts,
                item.point.state.symbol,
                prediction.horizon_s,
                prediction.sigma,
                prediction.lo,
                prediction.hi,
                prediction.score,
                prediction.threshold,
                item.quality,
                model.variant,
                model.version,
            )
            yield dict(zip(COLUMNS, values, strict=True))
