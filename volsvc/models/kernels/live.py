"""The fitted model's variances of live symbols: blends of members, and averages from ticks."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.compiled import kernel
from volsvc.features import SCALE_NAMES
from volsvc.models.columns import HORIZONS_S, LEVEL, RESOLUTION, SCALES_FROM, SEASON
from volsvc.models.kernels.bounds import HORIZONS, at_least, level_variance
from volsvc.models.kernels.heads import blends, members, variance_over_range

Array = NDArray[np.float64]
Records = NDArray[Any]

# Averages whose equally weighted mean is part of the forecast from ticks. There are too few real
# ticks to fit weights (docs/model_card.md).
AVERAGES: Final = ("variance_4m", "variance_10m", "variance_30m", "variance_90m")
# Returns a minute, beyond the first, at which that mean is half of the forecast at 60 s.
HALF_WEIGHT_RETURNS: Final = 2.0
# Power of the horizon with which more returns are needed for the same weight: what the heads have
# learnt from bars matters more at longer horizons.
HALF_WEIGHT_POWER: Final = 0.4

_HALF_WEIGHTS = HALF_WEIGHT_RETURNS * (HORIZONS / HORIZONS_S[0]) ** HALF_WEIGHT_POWER
_AVERAGE_COLUMNS = np.array([SCALE_NAMES.index(name) for name in AVERAGES])


@kernel
def average_weight(scales: Array, index: int) -> float:
    """Return the weight of the mean of averages in the forecast at a horizon.

    The heads were fitted to bars, where a minute's variance is one squared return, so they give it
    little weight. From ticks it rests on up to twelve returns and holds more than the heads use.
    The weight is 0 at one return a minute; at twelve it is 0.85 a minute ahead and about a half an
    hour ahead.
    """
    more = at_least(scales[RESOLUTION] - 1, 0.0)
    weight: float = more / (more + _HALF_WEIGHTS[index])
    return weight


@kernel
def mean_of_averages(scales: Array) -> float:
    """Return the mean of averages relative to the level."""
    total = 0.0
    for index in range(len(_AVERAGE_COLUMNS)):
        total += math.exp(scales[_AVERAGE_COLUMNS[index]])
    return total / len(_AVERAGE_COLUMNS)


@kernel
def fill_live_variances(
    features: Array,
    found: Array,
    live: int,
    heads: Records,
    starts: NDArray[np.int64],
    thresholds: Array,
    nodes: Records,
    splits: Records,
    values: Array,
    offsets: Array,
) -> None:
    """Write the variances of the `live` rows of a matrix that have a level: (rows, heads).

    The arguments from `heads` on are those of `members`.
    """
    scales = np.empty((live, features.shape[1] - SCALES_FROM))
    places = np.empty(live, dtype=np.int64)
    last = 0
    for row in range(len(features)):
        if not math.isnan(features[row, SCALES_FROM + LEVEL]):
            scales[last] = features[row, SCALES_FROM:]
            places[last] = row
            last += 1
    ratios = members(scales, heads, starts, thresholds, nodes, splits, values, offsets)
    blended = blends(ratios, scales, heads)
    for row in range(live):
        blended[row, 0] *= variance_over_range(scales[row])
        mean = mean_of_averages(scales[row])
        for index in range(len(heads)):
            average = level_variance(scales[row], SEASON + index, HORIZONS[index]) * mean
            fitted = blended[row, index]
            weight = average_weight(scales[row], index)
            found[places[row], index] = fitted + (average - fitted) * weight
