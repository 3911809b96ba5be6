"""Recorded bars as the minutes of the engine."""

from __future__ import annotations

import math
from collections.abc import Iterator

from volsvc.features import MinuteBar, Ohlcv, bar_of_prices
from volsvc.sources.recordings.bars import BarSeries


class MinuteBars:
    """The bars of one symbol, made one by one: years of them take little memory."""

    def __init__(self, series: BarSeries) -> None:
        self._series = series

    def __len__(self) -> int:
        return len(self._series.minutes)

    def __iter__(self) -> Iterator[MinuteBar]:
        previous = math.nan
        minutes, values = self._series
        for minute, row in zip(minutes.tolist(), values.tolist(), strict=True):
            bar = bar_of_prices(minute, previous, Ohlcv(*row))
            previous = bar.close
            yield bar

    @property
    def span(self) -> int:
        """Number of minutes from the first bar to the last, both included."""
        return int(self._series.minutes[-1] - self._series.minutes[0]) + 1
