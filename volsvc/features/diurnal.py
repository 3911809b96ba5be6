"""The daily pattern of a symbol's variance, learnt online.

48 half-hour bins hold the mean of squared returns relative to the level of the day, exponentially
weighted over days. A day's factors rest on days that ended at least a day before it began, so the
factors of today and of tomorrow are known all day, and a horizon over midnight stays causal.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from volsvc.domain.float_codec import pack, unpack

BINS = 48
BIN_MINUTES = 30
DAY_MINUTES = BINS * BIN_MINUTES
# A day's weight halves in 15 days.
FADE = 2.0 ** (-1 / 15)
# Weight of the flat pattern that a new symbol starts from.
PRIOR_DAYS = 5.0
LONGEST_GAP_DAYS = 365

Factors = tuple[float, ...]
FLAT: Factors = (1.0,) * BINS


class Diurnal:
    """Diurnal factors with mean 1; minutes are counted from the epoch, UTC."""

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
        """The factor of a minute of the newest day or of the one after."""
        start = self._cumulated[self._bin(minute)]
        return (self._cumulated[self._bin(minute) + 1] - start) / BIN_MINUTES

    def mean_ahead(self, minutes: float, ahead: float) -> float:
        """The mean factor over the `ahead` minutes (at most a day) that follow a time."""
        return (self._integral(minutes + ahead) - self._integral(minutes)) / ahead

    def _bin(self, minutes: float) -> int:
        start = (self._day or 0) * DAY_MINUTES
        return min(max(int(minutes - start) // BIN_MINUTES, 0), 2 * BINS - 1)

    def _integral(self, minutes: float) -> float:
        at = self._bin(minutes)
        start = ((self._day or 0) * BINS + at) * BIN_MINUTES
        low, high = self._cumulated[at], self._cumulated[at + 1]
        return low + (high - low) * (minutes - start) / BIN_MINUTES

    def begin(self, minute: int) -> None:
        """Move on to the day of a minute."""
        day = minute // DAY_MINUTES
        if self._day is None:
            self._day = day
        for _ in range(min(day - self._day, LONGEST_GAP_DAYS)):
            self._end_day()
        self._day = max(self._day, day)

    def add(self, minute: int, relative: float, silent: float) -> None:
        """Add a minute's squared return relative to the level, and the silent minutes before it.

        `begin` has been called with this minute.
        """
        at = minute % DAY_MINUTES // BIN_MINUTES
        self._day_sums[at] += relative
        self._day_minutes[at] += 1
        # Silence is observed too, as zeros; it may reach back into earlier bins of the day.
        while silent > 0 and at >= 0:
            room = min(silent, BIN_MINUTES - self._day_minutes[at])
            self._day_minutes[at] += max(room, 0.0)
            silent -= max(room, 0.0)
            at -= 1

    def _end_day(self) -> None:
        seen = zip(self._sums, self._weights, self._day_sums, self._day_minutes, strict=True)
        self._today = self._factors()
        self._sums, self._weights = map(
            list,
            zip(
                *((s * FADE + d / BIN_MINUTES, w * FADE + n / BIN_MINUTES) for s, w, d, n in seen),
                strict=True,
            ),
        )
        self._day_sums = [0.0] * BINS
        self._day_minutes = [0.0] * BINS
        self._cumulate(self._factors())

    def _factors(self) -> Factors:
        """Means by bin, smoothed with the neighbours over midnight, scaled to mean 1."""
        raw = [s / w if w > 0 else 1.0 for s, w in zip(self._sums, self._weights, strict=True)]
        smooth = [(raw[i - 1] + 2 * raw[i] + raw[(i + 1) % BINS]) / 4 for i in range(BINS)]
        mean = sum(smooth) / BINS
        if mean <= 0:
            return FLAT
        # A little of flat: a bin that was silent so far does not promise that it always will be.
        return tuple(0.05 + 0.95 * value / mean for value in smooth)

    def _cumulate(self, tomorrow: Factors) -> None:
        steps = (factor * BIN_MINUTES for factor in (*self._today, *tomorrow))
        self._cumulated = list(accumulate(steps, initial=0.0))
        self._packed: list[str] | None = None

    def dump(self) -> Any:
        """The whole state, as JSON can carry it without loss."""
        if self._packed is None:
            # These change once a day, the state is written once a second.
            self._packed = [pack(self._sums), pack(self._weights), pack(self._today)]
        return [self._day, *self._packed, pack(self._day_sums), pack(self._day_minutes)]

    def restore(self, state: Any) -> None:
        """Take over what `dump` gave."""
        self._day = state[0]
        self._sums, self._weights, today, self._day_sums, self._day_minutes = (
            unpack(text).tolist() for text in state[1:]
        )
        self._today = tuple(today)
        self._cumulate(self._factors())
