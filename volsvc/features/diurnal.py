"""The daily pattern of a symbol's variance, estimated online.

48 half-hour bins hold the mean variance relative to the level of the day, exponentially weighted
over days. The factors of a day depend on days that ended at least a day before it began, so the
factors of today and of tomorrow are known all day, and a horizon over midnight stays causal.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from volsvc.domain.float_codec import pack, unpack

BINS = 48
BIN_MINUTES = 30
DAY_MINUTES = BINS * BIN_MINUTES
# The weight of a day halves in 15 days.
FADE = 2.0 ** (-1 / 15)
# Weight, in days, of the flat pattern that a new symbol starts with.
PRIOR_DAYS = 5.0
# Of a longer gap only so many days are ended: old weights have faded by a factor of 5e-8 then.
MAX_GAP_DAYS = 365

Factors = tuple[float, ...]
FLAT: Factors = (1.0,) * BINS


class Diurnal:
    """Diurnal factors with mean 1. Minutes count from the epoch, UTC."""

    __slots__ = (
        "_cumulated",
        "_day",
        "_day_minutes",
        "_day_sums",
        "_packed",
        "_sums",
        "_today",
        "_weights",
    )

    def __init__(self) -> None:
        self._day: int | None = None
        self._sums = [PRIOR_DAYS] * BINS
        self._weights = [PRIOR_DAYS] * BINS
        self._today = FLAT
        self._day_sums = [0.0] * BINS
        self._day_minutes = [0.0] * BINS
        self._cumulate(FLAT)

    def factor(self, minute: int) -> float:
        """Return the factor of a minute of the newest day or of the day after it."""
        index = self._bin(minute)
        return (self._cumulated[index + 1] - self._cumulated[index]) / BIN_MINUTES

    def mean_ahead(self, minutes: float, horizon: float) -> float:
        """Return the mean factor over the `horizon` minutes (at most a day) that follow a time."""
        return (self._integral(minutes + horizon) - self._integral(minutes)) / horizon

    def _bin(self, minutes: float) -> int:
        start = (self._day or 0) * DAY_MINUTES
        return min(max(int(minutes - start) // BIN_MINUTES, 0), 2 * BINS - 1)

    def _integral(self, minutes: float) -> float:
        index = self._bin(minutes)
        start = ((self._day or 0) * BINS + index) * BIN_MINUTES
        low, high = self._cumulated[index], self._cumulated[index + 1]
        return low + (high - low) * (minutes - start) / BIN_MINUTES

    def advance(self, minute: int) -> None:
        """Advance to the day of a minute, ending the days before it."""
        day = minute // DAY_MINUTES
        if self._day is None:
            self._day = day
        for _ in range(min(day - self._day, MAX_GAP_DAYS)):
            self._end_day()
        self._day = max(self._day, day)

    def add(self, minute: int, relative: float, silent: float) -> None:
        """Add a minute's variance relative to the level, and the silent minutes before it.

        `advance` must have been called with this minute.
        """
        index = minute % DAY_MINUTES // BIN_MINUTES
        self._day_sums[index] += relative
        self._day_minutes[index] += 1
        # Silent minutes are observations of 0; they may reach back into earlier bins of the day.
        while silent > 0 and index >= 0:
            room = min(silent, BIN_MINUTES - self._day_minutes[index])
            self._day_minutes[index] += max(room, 0.0)
            silent -= max(room, 0.0)
            index -= 1

    def _end_day(self) -> None:
        # Before the sums take in the day that ends: the factors of a day lag by two days.
        self._today = self._factors()
        bins = zip(self._sums, self._weights, self._day_sums, self._day_minutes, strict=True)
        self._sums, self._weights = map(
            list,
            zip(
                *((s * FADE + d / BIN_MINUTES, w * FADE + n / BIN_MINUTES) for s, w, d, n in bins),
                strict=True,
            ),
        )
        self._day_sums = [0.0] * BINS
        self._day_minutes = [0.0] * BINS
        self._cumulate(self._factors())

    def _factors(self) -> Factors:
        """Return the means by bin, smoothed with their neighbours and scaled to mean 1."""
        raw = [s / w if w > 0 else 1.0 for s, w in zip(self._sums, self._weights, strict=True)]
        smooth = [(raw[i - 1] + 2 * raw[i] + raw[(i + 1) % BINS]) / 4 for i in range(BINS)]
        mean = sum(smooth) / BINS
        if mean <= 0:
            return FLAT
        # A share of the flat pattern, since a bin that was silent so far may not stay so.
        return tuple(0.05 + 0.95 * value / mean for value in smooth)

    def _cumulate(self, tomorrow: Factors) -> None:
        steps = (factor * BIN_MINUTES for factor in (*self._today, *tomorrow))
        self._cumulated = list(accumulate(steps, initial=0.0))
        self._packed: list[str] | None = None

    def dump(self) -> Any:
        """Return the whole state in a form that JSON holds without loss."""
        if self._packed is None:
            # These change once a day, but the state is written once a second.
            self._packed = [pack(self._sums), pack(self._weights), pack(self._today)]
        return [self._day, *self._packed, pack(self._day_sums), pack(self._day_minutes)]

    def restore(self, state: Any) -> None:
        """Restore a state returned by `dump`."""
        self._day = state[0]
        self._sums, self._weights, today, self._day_sums, self._day_minutes = (
            unpack(text).tolist() for text in state[1:]
        )
        self._today = tuple(today)
        self._cumulate(self._factors())
