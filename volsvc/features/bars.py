"""Recorded bars as the minutes of the engine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from volsvc.domain.minute_bars import BarSeries, PastBars
from volsvc.features.kernels.bars import past_points
from volsvc.features.kernels.minutes import BAR, MINUTE_NS, bars_of_prices
from volsvc.features.kernels.points import POINT
from volsvc.features.state import BAR_SOURCES
from volsvc.features.table import SymbolTable


def minute_bars(series: BarSeries, before: float = math.nan) -> Any:
    """Return the bars of one symbol as an array of BAR, of shape (bars,).

    The return of the first one is that from the close `before`, if it is known.
    """
    minutes, values = series
    bars = np.zeros(len(minutes), BAR)
    bars_of_prices(
        np.ascontiguousarray(minutes, np.int64),
        np.ascontiguousarray(values, np.float64),
        before,
        bars,
    )
    return bars


def apply_past(table: SymbolTable, past: PastBars, partition: int, offset: int) -> Any:
    """Add bars of before a symbol's next tick, at a place in the log; return their points (POINT).

    Bars that the state holds already give none, and nor do any while ticks wait, which are older.
    Raises InvalidTickError as `SymbolTable.row_for` does.
    """
    row = table.row_for(past.symbol, (int(past.bars.minutes[-1]) + 1) * MINUTE_NS)
    state = table.records[row].ticks
    points = np.zeros(len(past.bars.minutes), POINT)
    waiting = state.outside or state.next.present or state.prints.held.present
    if waiting or (state.partition == partition and offset <= state.offset):
        return points[:0]
    bars = minute_bars(past.bars, float(state.multiscale.close))
    count = past_points(state, row, BAR_SOURCES.index(past.source), bars, points)
    state.partition, state.offset = partition, offset
    return points[:count]
