"""Minute bars of one symbol, and those of before its first tick."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.domain.forecast import BarSource


class BarSeries(NamedTuple):
    """The bars of one symbol, in order of time.

    `minutes` counts from the epoch, UTC; `values` has the shape (bars, 5): open, high, low, close
    and volume.
    """

    minutes: NDArray[np.int64]
    values: NDArray[np.float64]

    def between(self, first: int, end: int) -> BarSeries:
        """Return the bars of minutes from one on, and before another."""
        start, stop = np.searchsorted(self.minutes, (first, end)).tolist()
        return BarSeries(self.minutes[start:stop], self.values[start:stop])


class PastBars(NamedTuple):
    """The bars of a symbol before its next tick, with their origin."""

    symbol: str
    source: BarSource
    bars: BarSeries
