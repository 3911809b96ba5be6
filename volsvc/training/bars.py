"""Recorded bars as the minutes of the engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from volsvc.features.kernels.minutes import BAR, bars_of_prices
from volsvc.sources.recordings.bars import BarSeries


def minute_bars(series: BarSeries) -> Any:
    """Return the bars of one symbol as an array of BAR, of shape (bars,)."""
    minutes, values = series
    bars = np.zeros(len(minutes), BAR)
    bars_of_prices(
        np.ascontiguousarray(minutes, np.int64), np.ascontiguousarray(values, np.float64), bars
    )
    return bars
