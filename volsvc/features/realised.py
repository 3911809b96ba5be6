"""Realised variance over each horizon, minute by minute, and its trailing quantile.

Everything moves with event time, one step per minute.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from volsvc.domain import HORIZON_MINUTES
from volsvc.domain.float_codec import pack, unpack
from volsvc.features.minutes import FLOOR_PER_MINUTE

MAX_HORIZON: Final = HORIZON_MINUTES[-1]

# Quantile of realised variance above which an outcome is a spike.
SPIKE_QUANTILE: Final = 0.9
# Weights halve in 10.4 days, so that their mean age is that of a window of 30 days.
DECAY: Final = 2.0 ** (-1 / (10.4 * 1440))
# Width of a bin in log variance.
BIN: Final = 0.1
# Weights are rescaled when the newest exceeds this, long before they could overflow.
MAX_GAIN: Final = 1e9


class RealisedAtMinute(NamedTuple):
    """Ln RV over each of HORIZON_MINUTES up to the end of a minute; NaN if not observed in full."""

    minute: int
    log_realised: tuple[float, ...]


class TrailingQuantile:
    """The SPIKE_QUANTILE of a series with exponentially decaying weights, to within a bin."""

    __slots__ = ("_gain", "_weights", "count")

    def __init__(self) -> None:
        self.count = 0
        self._gain = 1.0
        self._weights: dict[int, float] = {}

    def add(self, value: float) -> None:
        """Add a value."""
        self.count += 1
        # A growing weight of new values is equivalent to a decay of all old ones, at O(1).
        self._gain /= DECAY
        place = math.floor(value / BIN)
        self._weights[place] = self._weights.get(place, 0.0) + self._gain
        if self._gain > MAX_GAIN:
            self._weights = {k: w / self._gain for k, w in self._weights.items()}
            self._gain = 1.0

    @property
    def value(self) -> float:
        """The quantile, interpolated inside its bin; NaN before the first value."""
        # From above, as the quantile is near the top.
        left = (1 - SPIKE_QUANTILE) * math.fsum(self._weights.values())
        for place in sorted(self._weights, reverse=True):
            weight = self._weights[place]
            if weight >= left:
                return (place + 1 - left / weight) * BIN
            left -= weight
        return math.nan

    def dump(self) -> Any:
        """Return the whole state in a form that JSON holds without loss."""
        return [self.count, self._gain, list(self._weights), pack(list(self._weights.values()))]

    def restore(self, state: Any) -> None:
        """Restore a state returned by `dump`."""
        self.count, self._gain, bins, weights = state
        self._weights = dict(zip(bins, unpack(weights).tolist(), strict=True))


class RealisedVariances:
    """Realised variances of a symbol over the last hour, and their trailing quantiles."""

    __slots__ = ("_minute", "_observed", "_quantiles", "_variances", "log_thresholds")

    def __init__(self) -> None:
        self._minute = -1
        # A ring of the last hour, by minute modulo its length.
        self._variances = [0.0] * MAX_HORIZON
        self._observed = 0
        self._quantiles = tuple(TrailingQuantile() for _ in HORIZON_MINUTES)
        self.log_thresholds = (math.nan,) * len(HORIZON_MINUTES)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of minutes behind each of `log_thresholds`, the trailing quantiles of ln RV."""
        return tuple(quantile.count for quantile in self._quantiles)

    def close(
        self, minute: int, variance: float, one_minute: float, *, gap: bool
    ) -> list[RealisedAtMinute]:
        """Add a minute with trades, and return the values of it and of the silent ones before it.

        `variance` is its realised variance, and `one_minute` the proxy of it at a horizon of one
        minute. Horizons that reach into a gap of the feed are NaN.
        """
        silent = range(0)
        if gap or self._minute < 0 or minute - self._minute > MAX_HORIZON:
            self._observed = 0
        else:
            silent = range(self._minute + 1, minute)
        self._minute = minute
        realised = [self._add(empty, 0.0, 0.0) for empty in silent]
        return [*realised, self._add(minute, variance, one_minute)]

    def _add(self, minute: int, variance: float, one_minute: float) -> RealisedAtMinute:
        self._variances[minute % MAX_HORIZON] = variance
        self._observed = min(self._observed + 1, MAX_HORIZON)
        realised = tuple(self._log_realised(h, minute, one_minute) for h in HORIZON_MINUTES)
        for quantile, value in zip(self._quantiles, realised, strict=True):
            if not math.isnan(value):
                quantile.add(value)
        self.log_thresholds = tuple(quantile.value for quantile in self._quantiles)
        return RealisedAtMinute(minute, realised)

    def _log_realised(self, horizon: int, minute: int, one_minute: float) -> float:
        if self._observed < horizon:
            return math.nan
        total = one_minute
        if horizon > 1:
            # Summed each time: a running sum would drift, and depend on its past.
            total = math.fsum(self._variances[(minute - k) % MAX_HORIZON] for k in range(horizon))
        return math.log(max(total, FLOOR_PER_MINUTE * horizon))

    def dump(self) -> Any:
        """Return the whole state in a form that JSON holds without loss."""
        return {
            "minute": self._minute,
            "watched": self._observed,
            "variances": pack(self._variances),
            "usual": [quantile.dump() for quantile in self._quantiles],
        }

    def restore(self, state: Any) -> None:
        """Restore a state returned by `dump`."""
        self._minute, self._observed = state["minute"], state["watched"]
        self._variances = unpack(state["variances"]).tolist()
        for quantile, stored in zip(self._quantiles, state["usual"], strict=True):
            quantile.restore(stored)
        self.log_thresholds = tuple(quantile.value for quantile in self._quantiles)
