"""The daily pattern of variance by its formula, from all days at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 48
DAY = 1440
FADE = 2 ** (-1 / 15)


class PatternFormula:
    """Sums and minutes of every day since the first, from which any day's factors are computed."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._days: dict[int, NDArray[np.float64]] = {}
        # A day's factors do not change once they are asked for: the days behind them have ended.
        self._known: dict[int, list[float]] = {}

    def add(self, minute: int, relative: float, silent: float) -> None:
        """Add a minute; its silence goes to the newest bins of the day that have room."""
        day = self._days.setdefault(minute // DAY, np.zeros((2, BINS)))
        index = minute % DAY // 30
        day[:, index] += relative, 1.0
        room = np.maximum(30 - day[1, index::-1], 0)
        taken = np.minimum(np.cumsum([0.0, *room]), silent)
        day[1, index::-1] += np.diff(taken)

    def factors(self, day: int) -> list[float]:
        """Return the factors of a day, from the days that ended at least a day before it began."""
        if day not in self._known:
            self._known[day] = self._factors(day)
        return self._known[day]

    def _factors(self, day: int) -> list[float]:
        ended = max(day - 1 - self._first, 0)
        sums = np.full((2, BINS), 5 * FADE**ended)
        for each, seen in self._days.items():
            if each < self._first + ended:
                sums += seen / 30 * FADE ** (self._first + ended - 1 - each)
        raw = sums[0] / sums[1]
        smooth = np.roll(raw, 1) / 4 + raw / 2 + np.roll(raw, -1) / 4
        found: list[float] = (0.05 + 0.95 * smooth / smooth.mean()).tolist()
        return found

    def mean(self, minutes: float, horizon: float) -> float:
        """Return the mean factor over a horizon, minute by minute."""
        total, at, end = 0.0, minutes, minutes + horizon
        while at < end:
            following = min(np.floor(at) + 1, end)
            total += self.factor(int(at)) * (following - at)
            at = following
        return total / horizon

    def factor(self, minute: int) -> float:
        """Return the factor of a minute."""
        return self.factors(minute // DAY)[minute % DAY // 30]
