"""The multi-scale state of a symbol: exponentially weighted averages of its minutes.

The same code serves ticks and bars, online and in training. Minutes are added one after another at
O(1) each. Features can be read at any time, in the middle of a minute too: that minute counts by
the fraction of it that has passed. A minute without trades is a minute without return.

Formulas: docs/feature_spec.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from volsvc.domain.feature_names import ALL_KERNELS, DAY, SCALE_NAMES, WEEK
from volsvc.domain.float_codec import pack, unpack
from volsvc.features.averages import (
    GAIN,
    INDEX,
    INVERSE_HALF_LIVES,
    ONE_MINUTE_DECAY,
    QUANTITY,
    TINY,
    Vector,
)
from volsvc.features.diurnal import Diurnal
from volsvc.features.minutes import FLOOR_PER_MINUTE, MinuteBar, parkinson
from volsvc.features.multiscale_row import multiscale_row

# Cap on a minute's variance relative to the level of the day, so that one outlier cannot dominate
# its bin of the daily pattern.
MAX_RELATIVE = 50.0
# Silence less likely than this, given how active the symbol is, is a gap of the feed, within bounds
# in minutes.
SILENCE_P = 1e-3
MIN_SILENCE, MAX_SILENCE = 3.0, 60.0

_LEVEL = INDEX["variance", WEEK]
_NEWEST_VARIANCE = INDEX["variance", 4]
_HALF_HOUR_VARIANCE = INDEX["variance", 30]
_DAY_ACTIVE = INDEX["active", DAY]
_RAW = INDEX["raw", DAY]


class MultiScale:
    """Exponentially weighted averages of the minutes of one symbol."""

    __slots__ = ("_close", "_elapsed", "_last_return", "_minute", "_sums", "diurnal")

    def __init__(self) -> None:
        self._minute: int | None = None
        self._close = math.nan
        self._last_return = 0.0
        self._elapsed = 0.0
        self._sums: Vector = np.zeros(len(ALL_KERNELS))
        self.diurnal = Diurnal()

    @property
    def minute(self) -> int | None:
        """The newest minute that was added; None before the first."""
        return self._minute

    @property
    def elapsed(self) -> float:
        """Minutes of event time observed so far, without gaps of the feed."""
        return self._elapsed

    def push(self, bar: MinuteBar, fraction: float = 1.0) -> None:
        """Add a completed minute. Minutes come in order; those without trades are left out.

        `fraction` is the part of the minute that was observed, less than 1 for the first of a
        symbol.
        """
        self.diurnal.advance(bar.minute)
        silent = self._silent(bar.minute)
        if self._minute is not None and self._elapsed > 0:
            level = max(self._mean(_RAW), FLOOR_PER_MINUTE)
            relative = min(bar.variance / level, MAX_RELATIVE)
            self.diurnal.add(bar.minute, relative, silent)
        self._sums, self._elapsed, self._last_return = self._after(bar, fraction)
        self._minute, self._close = bar.minute, bar.close

    def is_gap(self, minute: int) -> bool:
        """Return True if the silence before a minute is a gap of the feed."""
        return self._minute is not None and self._silent(minute) < minute - self._minute - 1

    def _silent(self, minute: int) -> float:
        """Return the minutes without trades before a minute, gaps of the feed left out."""
        if self._minute is None:
            return 0.0
        silent = minute - self._minute - 1
        if silent <= MIN_SILENCE:
            return float(max(silent, 0))
        # With independent minutes, n silent ones have the probability (1 - active)**n.
        active = min(self._mean(_DAY_ACTIVE), 0.999)
        plausible = math.log(SILENCE_P) / math.log1p(-max(active, 1e-3))
        return min(silent, max(MIN_SILENCE, min(plausible, MAX_SILENCE)))

    def _calm(self) -> float:
        """Return ln of the half-hour variance relative to the level, before the current minute."""
        if self._elapsed <= 0:
            return 0.0
        now, level = self._mean(_HALF_HOUR_VARIANCE), self._mean(_LEVEL)
        return math.log(max(now, TINY) / max(level, FLOOR_PER_MINUTE))

    def recent_variance(self) -> float:
        """Return the variance of a minute: the mean of the day or of the last minutes, if more."""
        if self._minute is None:
            return 0.0
        newest = self._mean(_NEWEST_VARIANCE) * self.diurnal.factor(self._minute)
        return max(newest, self._mean(_RAW), FLOOR_PER_MINUTE)

    def _mean(self, index: int) -> float:
        # One element of the means of `multiscale_row`, without the array operations.
        weight = 1 - 2.0 ** (-self._elapsed * float(INVERSE_HALF_LIVES[index]))
        return float(self._sums[index]) / weight if weight > 0 else 0.0

    def _after(self, bar: MinuteBar, fraction: float) -> tuple[Vector, float, float]:
        """Return sums, elapsed minutes and return after `fraction` of the minute of `bar`."""
        passed, move, share = fraction, 0.0, 1.0
        if self._minute is not None:
            passed += self._silent(bar.minute)
            move = math.log(bar.close / self._close)
            # The return over a gap of the feed counts by the part of its time that is counted.
            share = passed / (bar.minute - self._minute - 1 + fraction)
        decay = ONE_MINUTE_DECAY if passed == 1.0 else np.exp2(-passed * INVERSE_HALF_LIVES)
        season = self.diurnal.factor(bar.minute)
        product = move * self._last_return * share / season
        span = parkinson(bar.high, bar.low)
        # In the order of KERNELS.
        inputs = np.array(
            (
                bar.variance * share / season,
                product,
                abs(product) * (math.pi / 2),
                bar.down * share / season,
                span / season,
                move * share,
                bar.volume,
                fraction,
                bar.variance * share,
                (span / season) ** 2,
                fraction * self._calm(),
                bar.returns,
            )
        )
        sums = self._sums * decay
        sums += GAIN * inputs[QUANTITY]
        return sums, self._elapsed + passed, move

    def row(self, minute: int, fraction: float = 1.0, pending: MinuteBar | None = None) -> Vector:
        """Return the features when `fraction` of `minute` has passed; (len(SCALE_NAMES),).

        `pending` is the minute so far, if it had trades. All NaN before the first minute.
        """
        if pending is not None:
            sums, elapsed, _ = self._after(pending, fraction)
            silence = 0.0
        elif self._minute is None:
            return np.full(len(SCALE_NAMES), math.nan)
        elif minute <= self._minute:
            sums, elapsed, silence = self._sums, self._elapsed, 0.0
        else:
            passed = self._silent(minute + 1)
            sums = self._sums * np.exp2(-passed * INVERSE_HALF_LIVES)
            elapsed, silence = self._elapsed + passed, float(minute - self._minute)
        return multiscale_row(sums, elapsed, self.diurnal, minute, fraction, silence)

    def dump(self) -> Any:
        """Return the whole state in a form that JSON holds without loss."""
        return {
            "minute": self._minute,
            "scalars": pack((self._close, self._last_return, self._elapsed)),
            "sums": pack(self._sums),
            "diurnal": self.diurnal.dump(),
        }

    def restore(self, state: Any) -> None:
        """Restore a state returned by `dump`."""
        self._minute = state["minute"]
        self._close, self._last_return, self._elapsed = unpack(state["scalars"]).tolist()
        self._sums = unpack(state["sums"])
        self.diurnal.restore(state["diurnal"])
