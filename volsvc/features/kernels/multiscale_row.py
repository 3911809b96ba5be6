"""The row of multi-scale features, computed from a symbol's averages and its daily pattern.

Variances are relative to the symbol's own slow level (half-life 7 d), with the daily pattern
removed, so that a model fitted on some symbols holds for others; level, season and calendar are
features of their own. Formulas: docs/feature_spec.md.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.compiled import kernel
from volsvc.domain.feature_names import (
    ACTIVE,
    CALM,
    LOGS,
    QUARTIC,
    RATIOS,
    SCALE_NAMES,
    SEASON_HORIZONS_S,
    TRENDS,
    VOLUMES,
    WEEK,
)
from volsvc.features.kernels import multiscale
from volsvc.features.kernels.diurnal import DAY_MINUTES, mean_ahead
from volsvc.features.kernels.minutes import FLOOR_PER_MINUTE
from volsvc.features.kernels.multiscale import HALF_LIFE_OF, TINY, indices

WIDTH: Final = len(SCALE_NAMES)
# Bound of ratios and trends, which a nearly silent symbol would make arbitrarily large.
MAX_RATIO: Final = 20.0
# Least number of active minutes, and least share of the usual volume, in a logarithm or below.
LEAST_SHARE: Final = 1e-3
# Halvings after which a double is 0.
ZERO_HALVINGS: Final = 1075.0

_LOGS, _RATIOS, _VOLUMES = indices(LOGS), indices(RATIOS), indices(VOLUMES)
_ACTIVE, _TRENDS = indices(ACTIVE), indices(TRENDS)
_QUARTIC, _CALM = indices(QUARTIC), indices(CALM)
# Denominators of the two kinds of ratios.
_RANGE_OF_QUARTIC = indices(("range", half) for _, half in QUARTIC)
_VARIANCE_OF_RATIOS = indices(("variance", half) for _, half in RATIOS)
_LEVEL, _VOLUME_LEVEL, _HALF_HOUR_VARIANCE, _HALF_HOUR_ACTIVE, _RETURNS = (
    int(index)
    for index in indices(
        [("variance", WEEK), ("volume", WEEK), ("variance", 30), ("active", 30), ("returns", 30)]
    )
)
_SEASON_MINUTES = np.array([horizon / 60 for horizon in SEASON_HORIZONS_S])

# Values on most markets, towards which the features of a young symbol are shrunk.
_RATIO_PRIOR = np.array([{"cross": 0.0, "bipower": 0.9, "down": 0.5}[name] for name, _ in RATIOS])
_QUARTIC_PRIOR = np.array([2.2, 2.8])
_CALM_PRIOR = np.array([-0.55, -0.5])


def _day_waves() -> NDArray[np.float64]:
    angle = 2 * np.pi * np.arange(DAY_MINUTES) / DAY_MINUTES
    waves = [wave(order * angle) for order in (1, 2, 3) for wave in (np.sin, np.cos)]
    return np.ascontiguousarray(np.column_stack(waves))


_DAY_WAVES = _day_waves()
_WAVES: Final = _DAY_WAVES.shape[1]


@kernel
def _clipped(value: float) -> float:
    return min(max(value, -MAX_RATIO), MAX_RATIO)


@kernel
def _shrunk(value: float, prior: float, unseen: float) -> float:
    return value + (prior - value) * unseen


@kernel
def write_row(
    state: Any, sums: Any, elapsed: float, minute: int, fraction: float, silence: float, row: Any
) -> None:
    """Write the features when `fraction` of `minute` has passed, in the order of SCALE_NAMES.

    `sums` are the decayed sums of the averages after `elapsed` minutes of event time; `silence` is
    the number of minutes since the last trade.
    """
    # Weight of the time before the first tick, by which the averages are corrected.
    unseen = np.empty(multiscale.COUNT)
    means = np.empty(multiscale.COUNT)
    _means(sums, elapsed, unseen, means)
    level = max(means[_LEVEL], FLOOR_PER_MINUTE)
    row[0] = level / 60
    at = 1
    for horizon in _SEASON_MINUTES:
        row[at] = mean_ahead(state.diurnal, minute + fraction, horizon)
        at += 1
    season = row[1]
    for index in _LOGS:
        row[at] = math.log(max(means[index], TINY) / level)
        at += 1
    at = _write_ratios(means, unseen, row, at)
    at = _write_activity(means, row, at)
    at = _write_shapes(means, unseen, row, at)
    row[at] = math.log1p(silence)
    row[at + 1] = means[_RETURNS] / max(means[_HALF_HOUR_ACTIVE], LEAST_SHARE)
    row[at + 2] = math.log(season)
    _write_calendar(minute, row, at + 3)
    row[WIDTH - 1] = math.log1p(min(elapsed, WEEK))


@kernel
def _means(sums: Any, elapsed: float, unseen: Any, means: Any) -> None:
    weights = np.empty(multiscale.HALF_LIVES)
    for half in range(multiscale.HALF_LIVES):
        halvings = elapsed * multiscale.INVERSE_HALF_LIVES[half]
        # A power that is 0 would take as long as any other, and most of them soon are.
        weights[half] = 2.0**-halvings if halvings < ZERO_HALVINGS else 0.0
    for index in range(multiscale.COUNT):
        unseen[index] = weights[HALF_LIFE_OF[index]]
        means[index] = sums[index] / (1 - unseen[index])


@kernel
def _write_ratios(means: Any, unseen: Any, row: Any, at: int) -> int:
    for place in range(len(_RATIOS)):
        index = _RATIOS[place]
        ratio = _clipped(means[index] / max(means[_VARIANCE_OF_RATIOS[place]], TINY))
        row[at + place] = _shrunk(ratio, _RATIO_PRIOR[place], unseen[index])
    at += len(_RATIOS)
    half_hour_volatility = math.sqrt(max(means[_HALF_HOUR_VARIANCE], FLOOR_PER_MINUTE))
    for place in range(len(_TRENDS)):
        trend = _clipped(means[_TRENDS[place]] / half_hour_volatility)
        row[at + place] = trend
        row[at + len(_TRENDS) + place] = abs(trend)
    return at + 2 * len(_TRENDS)


@kernel
def _write_activity(means: Any, row: Any, at: int) -> int:
    volume = means[_VOLUME_LEVEL]
    for index in _VOLUMES:
        row[at] = math.log((means[index] + LEAST_SHARE * volume) / volume) if volume > 0 else 0.0
        at += 1
    for index in _ACTIVE:
        row[at] = means[index]
        at += 1
    return at


@kernel
def _write_shapes(means: Any, unseen: Any, row: Any, at: int) -> int:
    for place in range(len(_QUARTIC)):
        index = _QUARTIC[place]
        span = max(means[_RANGE_OF_QUARTIC[place]], TINY)
        ratio = math.log(max(means[index], TINY * TINY) / (span * span))
        row[at + place] = _shrunk(ratio, _QUARTIC_PRIOR[place], unseen[index])
    at += len(_QUARTIC)
    for place in range(len(_CALM)):
        index = _CALM[place]
        row[at + place] = _shrunk(means[index], _CALM_PRIOR[place], unseen[index])
    return at + len(_CALM)


@kernel
def _write_calendar(minute: int, row: Any, at: int) -> None:
    # Day 0 of the epoch was a Thursday; Monday is 0.
    weekday = (minute // DAY_MINUTES + 3) % 7
    row[at] = minute % 60
    row[at + 1] = 1.0 if weekday >= 5 else 0.0
    row[at + 2] = 1.0 if weekday == 0 else 0.0
    for wave in range(_WAVES):
        row[at + 3 + wave] = _DAY_WAVES[minute % DAY_MINUTES, wave]


@kernel
def row_after(state: Any, minute: int, row: Any) -> None:
    """Write the features at the end of a minute, of the newest that was added or a later one.

    All NaN before the first minute.
    """
    if state.minute < 0:
        row[:] = math.nan
        return
    if minute <= state.minute:
        write_row(state, state.sums, state.elapsed, minute, 1.0, 0.0, row)
        return
    passed = multiscale.silent_before(state, minute + 1)
    sums = np.empty(multiscale.COUNT)
    multiscale.decayed(state, passed, sums)
    silence = float(minute - state.minute)
    write_row(state, sums, state.elapsed + passed, minute, 1.0, silence, row)


@kernel
def row_within(state: Any, bar: Any, fraction: float, row: Any) -> None:
    """Write the features when `fraction` of the minute of `bar` has passed; it has trades."""
    sums = np.empty(multiscale.COUNT)
    elapsed = multiscale.after(state, bar, fraction, sums)
    write_row(state, sums, elapsed, bar.minute, fraction, 0.0, row)
