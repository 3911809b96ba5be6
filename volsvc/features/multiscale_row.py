"""The row of multi-scale features, computed from a symbol's averages and its daily pattern.

Variances are relative to the symbol's own slow level (half-life 7 d), with the daily pattern
removed, so that a model fitted on some symbols holds for others; level, season and calendar are
features of their own. Formulas: docs/feature_spec.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from volsvc.domain.feature_names import (
    ACTIVE,
    CALM,
    LOGS,
    QUARTIC,
    RATIOS,
    SEASON_HORIZONS_S,
    TRENDS,
    VOLUMES,
    WEEK,
)
from volsvc.features.averages import INDEX, INVERSE_HALF_LIVES, TINY, Vector, indices
from volsvc.features.diurnal import DAY_MINUTES, Diurnal
from volsvc.features.minutes import FLOOR_PER_MINUTE

# Bound of ratios and trends, which a nearly silent symbol would make arbitrarily large.
MAX_RATIO = 20.0

_LOGS, _RATIOS, _VOLUMES = indices(LOGS), indices(RATIOS), indices(VOLUMES)
_ACTIVE, _TRENDS = indices(ACTIVE), indices(TRENDS)
_QUARTIC, _CALM = indices(QUARTIC), indices(CALM)
# Denominators of the two kinds of ratios.
_RANGE_OF_QUARTIC = indices(("range", half) for _, half in QUARTIC)
_VARIANCE_OF_RATIOS = indices(("variance", half) for _, half in RATIOS)
_LEVEL = INDEX["variance", WEEK]
_VOLUME_LEVEL = INDEX["volume", WEEK]
_HALF_HOUR_VARIANCE = INDEX["variance", 30]
_HALF_HOUR_ACTIVE = INDEX["active", 30]
_RETURNS = INDEX["returns", 30]

# Values on most markets, towards which the features of a young symbol are shrunk.
_RATIO_PRIOR: Vector = np.array([{"cross": 0.0, "bipower": 0.9, "down": 0.5}[n] for n, _ in RATIOS])
_QUARTIC_PRIOR: Vector = np.array([2.2, 2.8])
_CALM_PRIOR: Vector = np.array([-0.55, -0.5])


def _shrunk(values: Vector, priors: Vector, unseen: Vector) -> Vector:
    return values + (priors - values) * unseen


def _day_waves() -> NDArray[np.float64]:
    angle = 2 * np.pi * np.arange(DAY_MINUTES) / DAY_MINUTES
    waves = [wave(order * angle) for order in (1, 2, 3) for wave in (np.sin, np.cos)]
    return np.column_stack(waves)


_DAY_WAVES = _day_waves()


def multiscale_row(
    sums: Vector, elapsed: float, diurnal: Diurnal, minute: int, fraction: float, silence: float
) -> Vector:
    """Return the features when `fraction` of `minute` has passed, of shape (len(SCALE_NAMES),).

    `sums` are the decayed sums of the averages after `elapsed` minutes of event time; `silence` is
    the number of minutes since the last trade.
    """
    # Weight of the time before the first tick, by which the averages are corrected.
    unseen = np.exp2(-elapsed * INVERSE_HALF_LIVES)
    means = sums / (1 - unseen)
    level = max(float(means[_LEVEL]), FLOOR_PER_MINUTE)
    half_hour_volatility = math.sqrt(max(float(means[_HALF_HOUR_VARIANCE]), FLOOR_PER_MINUTE))
    volume = float(means[_VOLUME_LEVEL])
    trends = np.clip(means[_TRENDS] / half_hour_volatility, -MAX_RATIO, MAX_RATIO)
    ratios = means[_RATIOS] / np.maximum(means[_VARIANCE_OF_RATIOS], TINY)
    ratios = np.clip(ratios, -MAX_RATIO, MAX_RATIO)
    quartic = np.maximum(means[_QUARTIC], TINY**2)
    quartic = quartic / np.maximum(means[_RANGE_OF_QUARTIC], TINY) ** 2
    now = minute + fraction
    seasons = [diurnal.mean_ahead(now, h / 60) for h in SEASON_HORIZONS_S]
    # Day 0 of the epoch was a Thursday; Monday is 0.
    weekday = (minute // DAY_MINUTES + 3) % 7
    return np.concatenate(
        (
            (level / 60, *seasons),
            np.log(np.maximum(means[_LOGS], TINY) / level),
            _shrunk(ratios, _RATIO_PRIOR, unseen[_RATIOS]),
            trends,
            np.abs(trends),
            np.log((means[_VOLUMES] + 1e-3 * volume) / volume)
            if volume > 0
            else np.zeros(len(_VOLUMES)),
            means[_ACTIVE],
            _shrunk(np.log(quartic), _QUARTIC_PRIOR, unseen[_QUARTIC]),
            _shrunk(means[_CALM], _CALM_PRIOR, unseen[_CALM]),
            (
                math.log1p(silence),
                float(means[_RETURNS] / max(means[_HALF_HOUR_ACTIVE], 1e-3)),
                math.log(seasons[0]),
                minute % 60,
                float(weekday >= 5),
                float(weekday == 0),
            ),
            _DAY_WAVES[minute % DAY_MINUTES],
            (math.log1p(min(elapsed, WEEK)),),
        )
    )
