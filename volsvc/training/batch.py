"""Batch scoring: the forecasts that the service would have made on a recording.

They are made at each point of a time grid, by the engine, the calibration and the model of the
daemon. A row depends on the data before its time alone, whatever follows in the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, format_time
from volsvc.domain.tick_columns import TickColumns
from volsvc.features import PointGrid, SymbolTable, apply_recording
from volsvc.features.kernels import apply
from volsvc.features.kernels.points import GRID, POINT
from volsvc.features.state import quality_of
from volsvc.models import HORIZONS_S, BarAdapter, Model, SymbolForecasts
from volsvc.scoring.scores import NUMBERS

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
# Bars or points of one call; the rows do not depend on it.
CHUNK: Final = 4_096


class BatchPoints(NamedTuple):
    """Points (POINT) of a table: ends of minutes to learn from, and grid times to forecast at."""

    table: SymbolTable
    points: Any


def bar_points(symbol: str, bars: Any, every_s: int) -> Iterator[BatchPoints]:
    """Yield the points of recorded bars (BAR), in order of time.

    The grid includes minutes without trades, until their silence counts as a gap of the feed.
    """
    table = SymbolTable(FeatureSettings())
    row = table.row_for(symbol, 0)
    state = table.records[row].ticks.multiscale
    done = 0
    while done < len(bars):
        points = np.zeros(CHUNK, POINT)
        done, count = apply.bar_points(state, row, bars, done, every_s, points)
        yield BatchPoints(table, points[:count])


def tick_points(
    ticks: Iterable[TickColumns],
    settings: FeatureSettings,
    every_s: int,
    fresh_s: float,
    statuses: Counter[str] | None = None,
) -> Iterator[BatchPoints]:
    """Yield the points of recorded ticks, each with the symbol's state just before its time.

    There is no forecast where a symbol's newest tick is older than `fresh_s`. `statuses` counts the
    ticks by what became of them.
    """
    grid = PointGrid(every_ns=every_s * NS, fresh_ns=round(fresh_s * NS))
    table = SymbolTable(settings, grid=grid)
    for applied in apply_recording(table, ticks, Counter() if statuses is None else statuses):
        yield BatchPoints(table, applied.points)


def forecast_rows(
    model: Model, parts: Iterable[BatchPoints], horizons_s: Sequence[float], *, bars: bool
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of each part: the values of COLUMNS, a row for each grid time and horizon.

    With `bars` the forecasts one minute ahead are of the range; see BarAdapter.
    """
    adapted = BarAdapter(model) if bars else model
    horizons = tuple(sorted({*HORIZONS_S, *horizons_s}))
    asked = [horizons.index(horizon) for horizon in sorted(set(horizons_s))]
    for table, points in parts:
        forecasts = SymbolForecasts(table, adapted, points, horizons)
        forecasts.settle_all()
        told = np.flatnonzero(points["kind"] == GRID)
        names = [table.symbol(row) for row in points["symbol"][told].tolist()]
        times = list(map(format_time, points["at_ns"][told].tolist()))
        verdicts = [quality_of(values).verdict for values in points["quality"][told].tolist()]
        found = forecasts.numbers[told][:, asked].reshape(-1, len(NUMBERS))
        numbers = dict(zip(NUMBERS, found.T.tolist(), strict=True))
        # A row for each horizon: what belongs to the point is repeated, and horizons follow anew.
        columns = {
            "ts": _repeated(times, len(asked)),
            "symbol": _repeated(names, len(asked)),
            "horizon_s": [horizons[column] for column in asked] * len(told),
            **{name: numbers[name] for name in ("sigma", "lo", "hi")},
            "p_spike": numbers["score"],
            "threshold": numbers["threshold"],
            "quality": _repeated(verdicts, len(asked)),
            "model_variant": [model.variant] * len(found),
            "version": [model.version] * len(found),
        }
        yield list(zip(*(columns[name] for name in COLUMNS), strict=True))


def _repeated(values: Sequence[Any], times: int) -> list[Any]:
    return [value for value in values for _ in range(times)]
