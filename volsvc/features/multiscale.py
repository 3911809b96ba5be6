"""The multi-scale state of a symbol: exponentially weighted moments of its minutes.

One engine for ticks and for bars, online and in training. It takes in minutes one after another at
O(1) each, and reads features at any moment of event time, the minute under way included: that one
counts by the fraction of it that has passed. A minute without trades is a minute without return.

Everything is relative to the symbol's own slow level, with the daily pattern taken out, so that a
model fitted on some symbols holds for others. Formulas: docs/feature_spec.md.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.domain.feature_names import (
    ACTIVE,
    CALM,
    DAY,
    KERNELS,
    LOGS,
    ORDER,
    QUARTIC,
    RATIOS,
    SCALE_NAMES,
    SEASON_HORIZONS_S,
    TRENDS,
    VOLUMES,
    WEEK,
    Kernel,
)
from volsvc.domain.float_codec import pack, unpack
from volsvc.features.diurnal import DAY_MINUTES, Diurnal

Vector = NDArray[np.float64]

# Least variance of a minute: half a basis point.
FLOOR_PER_MINUTE = (0.5e-4) ** 2
# Where logarithms and denominators stop.
TINY = FLOOR_PER_MINUTE * 1e-2
# Cap on a minute's squared return relative to the day's level, inside the daily pattern.
MOST_RELATIVE = 50.0
MOST_RATIO = 20.0
# Silence that is less likely than this, for how active the symbol is, is a gap of the feed.
SILENCE_P = 1e-3
LEAST_SILENCE, MOST_SILENCE = 3.0, 60.0

INVERSE: Vector = np.array([1 / half for _, half in ORDER])
GAIN: Vector = 1 - np.exp2(-INVERSE)
ONE_MINUTE: Vector = np.exp2(-INVERSE)
SOURCE = np.repeat(np.arange(len(KERNELS)), [len(halves) for halves in KERNELS.values()])
PLACE = {key: index for index, key in enumerate(ORDER)}


def _places(*keys: Kernel) -> NDArray[np.intp]:
    return np.array([PLACE[key] for key in keys], dtype=np.intp)


_LOG_AT, _RATIO_AT, _VOLUME_AT = _places(*LOGS), _places(*RATIOS), _places(*VOLUMES)
_ACTIVE_AT, _TREND_AT = _places(*ACTIVE), _places(*TRENDS)
_QUARTIC_AT, _CALM_AT = _places(*QUARTIC), _places(*CALM)
_SQUARED_AT = _places(*(("range", half) for _, half in QUARTIC))
_UNDER_AT = _places(*(("variance", half) for _, half in RATIOS))
_LEVEL_AT = PLACE["variance", WEEK]
_VOLUME_LEVEL_AT = PLACE["volume", WEEK]
_HALF_HOUR_AT = PLACE["variance", 30]
_DAY_ACTIVE_AT = PLACE["active", DAY]
_RAW_AT = PLACE["raw", DAY]
_RETURNS_AT = PLACE["returns", 30]
_HALF_HOUR_ACTIVE_AT = PLACE["active", 30]


# What these are on most markets; a young symbol is taken for one of them.
_RATIO_PRIOR: Vector = np.array([{"cross": 0.0, "bipower": 0.9, "down": 0.5}[n] for n, _ in RATIOS])
_QUARTIC_PRIOR: Vector = np.array([2.2, 2.8])
_CALM_PRIOR: Vector = np.array([-0.55, -0.5])


def _shrunk(values: Vector, priors: Vector, unseen: Vector) -> Vector:
    """Values drawn to priors by the share of their average that nothing is known of yet."""
    return values + (priors - values) * unseen


def _calendar() -> NDArray[np.float64]:
    angle = 2 * np.pi * np.arange(DAY_MINUTES) / DAY_MINUTES
    waves = [wave(order * angle) for order in (1, 2, 3) for wave in (np.sin, np.cos)]
    return np.column_stack(waves)


_CALENDAR = _calendar()


class MinuteBar(NamedTuple):
    """What happened in a minute with trades; `minute` counts from the epoch, UTC.

    `variance` is the sum of squared log returns inside the minute and `down` its part from falls;
    from bars, both come of the one return from close to close. `returns` is how many returns
    they rest on.
    """

    minute: int
    close: float
    high: float
    low: float
    variance: float
    down: float
    volume: float
    returns: float = 1.0


class MultiScale:
    """Exponentially weighted moments of the minutes of one symbol."""

    __slots__ = ("_close", "_elapsed", "_last_return", "_minute", "_sums", "diurnal")

    def __init__(self) -> None:
        self._minute: int | None = None
        self._close = math.nan
        self._last_return = 0.0
        self._elapsed = 0.0
        self._sums: Vector = np.zeros(len(ORDER))
        self.diurnal = Diurnal()

    @property
    def minute(self) -> int | None:
        """The newest minute that was taken in."""
        return self._minute

    @property
    def close(self) -> float:
        """The price at its end; NaN before the first."""
        return self._close

    @property
    def elapsed(self) -> float:
        """Minutes of event time that the state has seen, gaps of the feed left out."""
        return self._elapsed

    def push(self, bar: MinuteBar, fraction: float = 1.0) -> None:
        """Take in a minute that is over; minutes come in order, those without trades left out.

        `fraction` is the part of it that was watched, which may be less than 1 for the first.
        """
        self.diurnal.begin(bar.minute)
        silent = self._silent(bar.minute)
        if self._minute is not None and self._elapsed > 0:
            level = max(self._mean(self._sums, self._elapsed, _RAW_AT), FLOOR_PER_MINUTE)
            relative = min(bar.variance / level, MOST_RELATIVE)
            self.diurnal.add(bar.minute, relative, silent)
        self._sums, self._elapsed, self._last_return = self._after(bar, fraction)
        self._minute, self._close = bar.minute, bar.close

    def is_gap(self, minute: int) -> bool:
        """Whether the silence before a minute is longer than trading explains."""
        return self._minute is not None and self._silent(minute) < minute - self._minute - 1

    def _silent(self, minute: int) -> float:
        """Minutes without trades before a minute, up to where they are a gap of the feed."""
        if self._minute is None:
            return 0.0
        silent = minute - self._minute - 1
        if silent <= LEAST_SILENCE:
            return float(max(silent, 0))
        active = min(self._mean(self._sums, self._elapsed, _DAY_ACTIVE_AT), 0.999)
        plausible = math.log(SILENCE_P) / math.log1p(-max(active, 1e-3))
        return min(silent, max(LEAST_SILENCE, min(plausible, MOST_SILENCE)))

    def _calm(self) -> float:
        """Logarithm of the half-hour variance before this minute, relative to the level."""
        if self._elapsed <= 0:
            return 0.0
        now = self._mean(self._sums, self._elapsed, _HALF_HOUR_AT)
        level = self._mean(self._sums, self._elapsed, _LEVEL_AT)
        return math.log(max(now, TINY) / max(level, FLOOR_PER_MINUTE))

    @staticmethod
    def _mean(sums: Vector, elapsed: float, at: int) -> float:
        # A scalar reading of what `row` does with arrays.
        weight = 1 - 2.0 ** (-elapsed * float(INVERSE[at]))
        return float(sums[at]) / weight if weight > 0 else 0.0

    def _after(self, bar: MinuteBar, fraction: float) -> tuple[Vector, float, float]:
        """Sums, elapsed minutes and return once `fraction` of a minute has passed as `bar` says."""
        passed, move, share = fraction, 0.0, 1.0
        if self._minute is not None:
            passed += self._silent(bar.minute)
            move = math.log(bar.close / self._close)
            # The return over a gap of the feed counts by the part of its time that is counted.
            share = passed / (bar.minute - self._minute - 1 + fraction)
        decay = ONE_MINUTE if passed == 1.0 else np.exp2(-passed * INVERSE)
        season = self.diurnal.factor(bar.minute)
        product = move * self._last_return * share / season
        span = parkinson(bar.high, bar.low)
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
        sums += GAIN * inputs[SOURCE]
        return sums, self._elapsed + passed, move

    def row(self, minute: int, fraction: float = 1.0, pending: MinuteBar | None = None) -> Vector:
        """Features when `fraction` of `minute` has passed, of shape (len(SCALE_NAMES),).

        `pending` is the minute so far, if it had trades. All NaN before anything was seen.
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
            sums, elapsed = self._sums * np.exp2(-passed * INVERSE), self._elapsed + passed
            silence = float(minute - self._minute)
        return self._features(minute, fraction, sums, elapsed, silence)

    def _features(
        self, minute: int, fraction: float, sums: Vector, elapsed: float, silence: float
    ) -> Vector:
        unseen = np.exp2(-elapsed * INVERSE)
        means = sums / (1 - unseen)
        level = max(float(means[_LEVEL_AT]), FLOOR_PER_MINUTE)
        scale = math.sqrt(max(float(means[_HALF_HOUR_AT]), FLOOR_PER_MINUTE))
        volume = float(means[_VOLUME_LEVEL_AT])
        trends = np.clip(means[_TREND_AT] / scale, -MOST_RATIO, MOST_RATIO)
        ratios = means[_RATIO_AT] / np.maximum(means[_UNDER_AT], TINY)
        ratios = np.clip(ratios, -MOST_RATIO, MOST_RATIO)
        quartic = np.maximum(means[_QUARTIC_AT], TINY**2)
        quartic = quartic / np.maximum(means[_SQUARED_AT], TINY) ** 2
        now = minute + fraction
        seasons = [self.diurnal.mean_ahead(now, h / 60) for h in SEASON_HORIZONS_S]
        day = minute // DAY_MINUTES
        weekday = (day + 3) % 7
        return np.concatenate(
            (
                (level / 60, *seasons),
                np.log(np.maximum(means[_LOG_AT], TINY) / level),
                _shrunk(ratios, _RATIO_PRIOR, unseen[_RATIO_AT]),
                trends,
                np.abs(trends),
                np.log((means[_VOLUME_AT] + 1e-3 * volume) / volume)
                if volume > 0
                else np.zeros(len(_VOLUME_AT)),
                means[_ACTIVE_AT],
                _shrunk(np.log(quartic), _QUARTIC_PRIOR, unseen[_QUARTIC_AT]),
                _shrunk(means[_CALM_AT], _CALM_PRIOR, unseen[_CALM_AT]),
                (
                    math.log1p(silence),
                    float(means[_RETURNS_AT] / max(means[_HALF_HOUR_ACTIVE_AT], 1e-3)),
                    math.log(seasons[0]),
                    minute % 60,
                    float(weekday >= 5),
                    float(weekday == 0),
                ),
                _CALENDAR[minute % DAY_MINUTES],
                (math.log1p(min(elapsed, WEEK)),),
            )
        )

    def dump(self) -> Any:
        """The whole state, as JSON can carry it without loss."""
        return {
            "minute": self._minute,
            "scalars": pack((self._close, self._last_return, self._elapsed)),
            "sums": pack(self._sums),
            "diurnal": self.diurnal.dump(),
        }

    def restore(self, state: Any) -> None:
        """Take over what `dump` gave."""
        self._minute = state["minute"]
        self._close, self._last_return, self._elapsed = unpack(state["scalars"]).tolist()
        self._sums = unpack(state["sums"])
        self.diurnal.restore(state["diurnal"])


def parkinson(high: float, low: float) -> float:
    """Variance from a range, (ln high/low)**2 / (4 ln 2): Parkinson (1980)."""
    return math.log(high / low) ** 2 / (4 * math.log(2)) if high > low else 0.0
