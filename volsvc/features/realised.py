"""What the market did: realised variance as its horizons pass, and how large it usually is.

Everything moves with event time, one step a minute.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from volsvc.domain.float_codec import pack, unpack
from volsvc.features.multiscale import FLOOR_PER_MINUTE

HORIZON_MINUTES: Final = (1, 5, 15, 60)
LONGEST: Final = HORIZON_MINUTES[-1]

SPIKE_QUANTILE: Final = 0.9
# Weights halve in 10.4 days: the mean age is that of a window of 30 days.
FADE: Final = 2.0 ** (-1 / (10.4 * 1440))
# Width of a bin in log variance.
BIN: Final = 0.1
GREATEST_GAIN: Final = 1e9


class Settled(NamedTuple):
    """ln RV over each of HORIZON_MINUTES up to the end of a minute; NaN where it was not seen."""

    minute: int
    log_realised: tuple[float, ...]


class TrailingQuantile:
    """The 90 % quantile of what was added, with exponential forgetting, to within a bin."""

    __slots__ = ("_gain", "_weights", "count")

    def __init__(self) -> None:
        self.count = 0
        self._gain = 1.0
        self._weights: dict[int, float] = {}

    def add(self, value: float) -> None:
        """Add a value."""
        self.count += 1
        # Newer values weigh more, which is the same as older ones fading.
        self._gain /= FADE
        at = math.floor(value / BIN)
        self._weights[at] = self._weights.get(at, 0.0) + self._gain
        if self._gain > GREATEST_GAIN:
            self._weights = {k: w / self._gain for k, w in self._weights.items()}
            self._gain = 1.0

    @property
    def value(self) -> float:
        """The quantile, interpolated inside its bin; NaN while nothing was added."""
        left = (1 - SPIKE_QUANTILE) * math.fsum(self._weights.values())
        for at in sorted(self._weights, reverse=True):
            weight = self._weights[at]
            if weight >= left:
                return (at + 1 - left / weight) * BIN
            left -= weight
        return math.nan

    def dump(self) -> Any:
        """The whole state, as JSON can carry it without loss."""
        return [self.count, self._gain, list(self._weights), pack(list(self._weights.values()))]

    def restore(self, state: Any) -> None:
        """Take over what `dump` gave."""
        self.count, self._gain, bins, weights = state
        self._weights = dict(zip(bins, unpack(weights).tolist(), strict=True))


class RealisedVariances:
    """The realised variances of one symbol's last hour, and the law of their size."""

    __slots__ = ("_minute", "_usual", "_variances", "_watched", "log_usual")

    def __init__(self) -> None:
        self._minute = -1
        self._variances = [0.0] * LONGEST
        self._watched = 0
        self._usual = tuple(TrailingQuantile() for _ in HORIZON_MINUTES)
        self.log_usual = (math.nan,) * len(HORIZON_MINUTES)

    @property
    def counts(self) -> tuple[int, ...]:
        """Minutes that each of `log_usual`, the trailing quantiles of ln RV, rests on."""
        return tuple(usual.count for usual in self._usual)

    def close(self, minute: int, variance: float, one_minute: float, *, gap: bool) -> list[Settled]:
        """A minute with trades is over: what it and the silent minutes before it have settled.

        `variance` is its realised variance and `one_minute` what stands for it at a horizon of one
        minute. After a gap of the feed nothing is settled that reaches into it.
        """
        if gap or self._minute < 0 or minute - self._minute > LONGEST:
            self._watched = 0
        else:
            silent = range(self._minute + 1, minute)
            settled = [self._settle(empty, 0.0, 0.0) for empty in silent]
            self._minute = minute
            return [*settled, self._settle(minute, variance, one_minute)]
        self._minute = minute
        return [self._settle(minute, variance, one_minute)]

    def _settle(self, minute: int, variance: float, one_minute: float) -> Settled:
        self._variances[minute % LONGEST] = variance
        self._watched = min(self._watched + 1, LONGEST)
        realised = tuple(self._log_realised(m, minute, one_minute) for m in HORIZON_MINUTES)
        for usual, value in zip(self._usual, realised, strict=True):
            if not math.isnan(value):
                usual.add(value)
        self.log_usual = tuple(usual.value for usual in self._usual)
        return Settled(minute, realised)

    def _log_realised(self, minutes: int, minute: int, one_minute: float) -> float:
        if self._watched < minutes:
            return math.nan
        total = one_minute
        if minutes > 1:
            total = math.fsum(self._variances[(minute - k) % LONGEST] for k in range(minutes))
        return math.log(max(total, FLOOR_PER_MINUTE * minutes))

    def dump(self) -> Any:
        """The whole state, as JSON can carry it without loss."""
        return {
            "minute": self._minute,
            "watched": self._watched,
            "variances": pack(self._variances),
            "usual": [usual.dump() for usual in self._usual],
        }

    def restore(self, state: Any) -> None:
        """Take over what `dump` gave."""
        self._minute, self._watched = state["minute"], state["watched"]
        self._variances = unpack(state["variances"]).tolist()
        for usual, stored in zip(self._usual, state["usual"], strict=True):
            usual.restore(stored)
        self.log_usual = tuple(usual.value for usual in self._usual)
