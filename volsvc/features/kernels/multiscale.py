"""The multi-scale state of a symbol: exponentially weighted averages of its minutes.

The same code serves ticks and bars, online and in training. Minutes are added one after another at
O(1) each. A minute without trades is a minute without return.

Formulas: docs/feature_spec.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.compiled import kernel, record_type
from volsvc.domain.feature_names import ALL_KERNELS, DAY, KERNELS, WEEK, Kernel
from volsvc.features.kernels import diurnal
from volsvc.features.kernels.minutes import FLOOR_PER_MINUTE, parkinson

# Least argument of a logarithm and least denominator, far below the floor of a minute.
TINY: Final = FLOOR_PER_MINUTE * 1e-2
# Cap on a minute's variance relative to the level of the day, so that one outlier cannot dominate
# its bin of the daily pattern.
MAX_RELATIVE: Final = 50.0
# Silence less likely than this, given how active the symbol is, is a gap of the feed, within bounds
# in minutes.
SILENCE_P: Final = 1e-3
MIN_SILENCE: Final = 3.0
MAX_SILENCE: Final = 60.0
# Observed minutes from which on a symbol is warm: a day, so that it has its own daily pattern.
WARM_MINUTES: Final = DAY

COUNT: Final = len(ALL_KERNELS)
_HALF_LIVES = sorted({half for _, half in ALL_KERNELS})
HALF_LIVES: Final = len(_HALF_LIVES)
# 1/minutes, one for each distinct half-life, and the place of each average's among them.
INVERSE_HALF_LIVES = np.array([1 / half for half in _HALF_LIVES])
HALF_LIFE_OF = np.array([_HALF_LIVES.index(half) for _, half in ALL_KERNELS])
_ONE_MINUTE_DECAY = np.array([2.0 ** (-1 / half) for half in _HALF_LIVES])
_GAIN = np.array([1 - 2.0 ** (-1 / half) for _, half in ALL_KERNELS])
# Index in KERNELS of the quantity that each element averages.
_QUANTITY = np.repeat(np.arange(len(KERNELS)), [len(halves) for halves in KERNELS.values()])


def indices(kernels: Iterable[Kernel]) -> NDArray[np.intp]:
    """Return the indices of averages in ALL_KERNELS."""
    return np.array([ALL_KERNELS.index(kernel) for kernel in kernels], dtype=np.intp)


_LEVEL, _NEWEST_VARIANCE, _HALF_HOUR_VARIANCE, _DAY_ACTIVE, _RAW = (
    int(index)
    for index in indices(
        [("variance", WEEK), ("variance", 4), ("variance", 30), ("active", DAY), ("raw", DAY)]
    )
)

# `minute` is the newest minute that was added, -1 before the first; `elapsed` are the minutes of
# event time observed so far, without gaps of the feed.
MULTISCALE = record_type(
    [
        ("minute", "i8"),
        ("close", "f8"),
        ("last_return", "f8"),
        ("elapsed", "f8"),
        ("sums", "f8", (COUNT,)),
        ("diurnal", diurnal.DIURNAL),
    ]
)


@kernel
def start(state: Any) -> None:
    """Make a record of zeros a symbol without minutes."""
    state.minute = -1
    state.close = math.nan
    diurnal.start(state.diurnal)


@kernel
def _mean(state: Any, index: int) -> float:
    weight = 1 - 2.0 ** (-state.elapsed * INVERSE_HALF_LIVES[HALF_LIFE_OF[index]])
    return state.sums[index] / weight if weight > 0 else 0.0


@kernel
def silent_before(state: Any, minute: int) -> float:
    """Return the minutes without trades before a minute, gaps of the feed left out."""
    if state.minute < 0:
        return 0.0
    silent = float(minute - state.minute - 1)
    if silent <= MIN_SILENCE:
        return max(silent, 0.0)
    # With independent minutes, n silent ones have the probability (1 - active)**n.
    active = min(_mean(state, _DAY_ACTIVE), 0.999)
    plausible = math.log(SILENCE_P) / math.log1p(-max(active, 1e-3))
    return min(silent, max(MIN_SILENCE, min(plausible, MAX_SILENCE)))


@kernel
def is_gap(state: Any, minute: int) -> bool:
    """Return True if the silence before a minute is a gap of the feed."""
    return bool(state.minute >= 0) and bool(
        silent_before(state, minute) < minute - state.minute - 1
    )


@kernel
def _calm(state: Any) -> float:
    """Return ln of the half-hour variance relative to the level, before the current minute."""
    if state.elapsed <= 0:
        return 0.0
    now, level = _mean(state, _HALF_HOUR_VARIANCE), _mean(state, _LEVEL)
    return math.log(max(now, TINY) / max(level, FLOOR_PER_MINUTE))


@kernel
def recent_variance(state: Any) -> float:
    """Return the variance of a minute: the mean of the day or of the last minutes, if more."""
    if state.minute < 0:
        return 0.0
    newest = _mean(state, _NEWEST_VARIANCE) * diurnal.factor(state.diurnal, state.minute)
    return max(newest, _mean(state, _RAW), FLOOR_PER_MINUTE)


@kernel
def decayed(state: Any, passed: float, sums: Any) -> None:
    """Write the sums after `passed` minutes without trades."""
    factors = np.empty(HALF_LIVES)
    for half in range(HALF_LIVES):
        # The exact constants, since nearly every minute follows the one before it.
        if passed == 1.0:
            factors[half] = _ONE_MINUTE_DECAY[half]
        else:
            factors[half] = 2.0 ** (-passed * INVERSE_HALF_LIVES[half])
    for index in range(COUNT):
        sums[index] = state.sums[index] * factors[HALF_LIFE_OF[index]]


@kernel
def after(state: Any, bar: Any, fraction: float, sums: Any) -> float:
    """Write the sums after `fraction` of the minute of `bar`, and return the elapsed minutes."""
    passed, move, share = fraction, 0.0, 1.0
    if state.minute >= 0:
        passed += silent_before(state, bar.minute)
        move = math.log(bar.close / state.close)
        # The return over a gap of the feed counts by the part of its time that is counted.
        share = passed / (bar.minute - state.minute - 1 + fraction)
    season = diurnal.factor(state.diurnal, bar.minute)
    product = move * state.last_return * share / season
    span = parkinson(bar.high, bar.low) / season
    # In the order of KERNELS.
    inputs = (
        bar.variance * share / season,
        product,
        abs(product) * (math.pi / 2),
        bar.down * share / season,
        span,
        move * share,
        bar.volume,
        fraction,
        bar.variance * share,
        span * span,
        fraction * _calm(state),
        bar.returns,
    )
    decayed(state, passed, sums)
    for index in range(COUNT):
        sums[index] += _GAIN[index] * inputs[_QUANTITY[index]]
    elapsed: float = state.elapsed + passed
    return elapsed


@kernel
def push(state: Any, bar: Any, fraction: float) -> None:
    """Add a completed minute. Minutes come in order; those without trades are left out.

    `fraction` is the part of the minute that was observed, less than 1 for the first of a symbol.
    """
    diurnal.advance(state.diurnal, bar.minute)
    if state.minute >= 0 and state.elapsed > 0:
        level = max(_mean(state, _RAW), FLOOR_PER_MINUTE)
        relative = min(bar.variance / level, MAX_RELATIVE)
        diurnal.add(state.diurnal, bar.minute, relative, silent_before(state, bar.minute))
    sums = np.empty(COUNT)
    elapsed = after(state, bar, fraction, sums)
    state.last_return = math.log(bar.close / state.close) if state.minute >= 0 else 0.0
    state.sums[:] = sums
    state.elapsed = elapsed
    state.minute = bar.minute
    state.close = bar.close
