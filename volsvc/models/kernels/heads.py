"""Blends of members for the multi-scale features of live symbols; see models/heads.py."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.compiled import kernel
from volsvc.features import FLOOR_PER_MINUTE, SCALE_NAMES
from volsvc.models.kernels.bounds import at_least, clamped, level_variance
from volsvc.models.kernels.trees import tree_sums

Array = NDArray[np.float64]
Records = NDArray[Any]

VARIANCES: Final = tuple(n for n in SCALE_NAMES if n.startswith("variance_"))
RANGES: Final = tuple(n for n in SCALE_NAMES if n.startswith("range_"))
# Inputs of the linear member and the trees, beside the logarithm of the mixture. Level and the
# seasons of horizons are left out, since forecasts are relative to them: so a fit holds for unseen
# symbols. `resolution` is 1 in all bars that a fit sees.
INPUTS: Final = tuple(
    n
    for n in SCALE_NAMES
    if n not in ("level", "resolution") and (n == "season_log" or not n.startswith("season_"))
)
# The level's few per cent are an insurance: without them a calm hour before a jump costs more
# than calm hours gain (decision 0006 in docs/decisions).
MEMBERS: Final = ("mixture", "linear", "trees", "residual_trees", "level")
# Bound on the logarithm of realised over range variance: a factor of three.
MAX_LOG_RATIO: Final = 1.1
# Standard deviations at which the linear member's inputs are cut off; its forecast is the
# exponential of their sum.
CLIP: Final = 5.0
# Least forecast relative to the slow level: a feed that was silent does not mean a calm market.
MIN_LEVEL_SHARE: Final = 0.02

MIXTURE_TERMS: Final = len(VARIANCES + RANGES) + 1
# A fitted horizon; models/heads.py describes the fields. Its elements have the fields as attributes
# in Python too, where kernels are not compiled.
HEAD: Final = np.dtype(
    (
        np.record,
        [
            ("horizon_s", np.float64),
            ("season", np.int64),
            ("mixture", np.float64, (MIXTURE_TERMS,)),
            ("centre", np.float64, (len(INPUTS) + 1,)),
            ("scale", np.float64, (len(INPUTS) + 1,)),
            ("slope", np.float64, (len(INPUTS) + 1,)),
            ("intercept", np.float64),
            ("weights", np.float64, (len(MEMBERS),)),
        ],
    )
)

_INPUT_COLUMNS = np.array([SCALE_NAMES.index(name) for name in INPUTS])
_MIXTURE_COLUMNS = np.array([SCALE_NAMES.index(name) for name in VARIANCES + RANGES])
_VARIANCE_6H = SCALE_NAMES.index("variance_360m")
_RANGE_6H = SCALE_NAMES.index("range_360m")
_INPUTS = len(INPUTS)


@kernel
def floored_level_variance(scales: Array, season: int, horizon_s: float) -> float:
    """Return the slow level times the daily pattern over a horizon, from the floor upwards."""
    return at_least(level_variance(scales, season, horizon_s), FLOOR_PER_MINUTE * horizon_s / 60)


@kernel
def variance_over_range(scales: Array) -> float:
    """Return the symbol's realised over Parkinson's variance of the last six hours.

    One minute ahead the head is fitted to ranges, since from bars a single squared return holds
    almost no information. The difference of the two (discrete trading, bounce) varies by venue and
    between ticks and bars; the symbol's own ratio turns a forecast of the range into one of
    realised variance.
    """
    log_ratio = scales[_VARIANCE_6H] - scales[_RANGE_6H]
    return math.exp(clamped(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))


@kernel
def floored_level_variances(scales: Array, season: int, horizon_s: float) -> Array:
    """Return `floored_level_variance` of each row of scales."""
    found = np.empty(len(scales))
    for row in range(len(scales)):
        found[row] = floored_level_variance(scales[row], season, horizon_s)
    return found


@kernel
def variances_over_ranges(scales: Array) -> Array:
    """Return `variance_over_range` of each row of scales."""
    found = np.empty(len(scales))
    for row in range(len(scales)):
        found[row] = variance_over_range(scales[row])
    return found


@kernel
def mixture_terms(scales: Array) -> Array:
    """Return variances and ranges relative to the level, and a column of ones: a column each."""
    terms = np.empty((len(scales), MIXTURE_TERMS))
    for row in range(len(scales)):
        for index in range(MIXTURE_TERMS - 1):
            terms[row, index] = math.exp(scales[row, _MIXTURE_COLUMNS[index]])
        terms[row, MIXTURE_TERMS - 1] = 1.0
    return terms


@kernel
def weighted_sum(values: Array, weights: Array) -> float:
    """Return a weighted sum; a value of weight 0 is left out, even if it is infinite."""
    total = 0.0
    for index in range(len(weights)):
        if weights[index] != 0.0:
            total += values[index] * weights[index]
    return total


@kernel
def weighted_sums(columns: Array, weights: Array) -> Array:
    """Return `weighted_sum` of each row of a matrix."""
    found = np.empty(len(columns))
    for row in range(len(columns)):
        found[row] = weighted_sum(columns[row], weights)
    return found


@kernel
def inputs(scales: Array, mixtures: Array) -> Array:
    """Return the inputs of linear members and trees: INPUTS and the logarithms of mixtures.

    `mixtures` have a column for each head, (rows, heads).
    """
    columns = np.empty((len(scales), _INPUTS + mixtures.shape[1]))
    for row in range(len(scales)):
        for index in range(_INPUTS):
            columns[row, index] = scales[row, _INPUT_COLUMNS[index]]
        for head in range(mixtures.shape[1]):
            columns[row, _INPUTS + head] = math.log(mixtures[row, head])
    return columns


@kernel
def standardised(value: float, centre: float, scale: float) -> float:
    """Return an input of the linear member: standardised, and cut off."""
    return clamped((value - centre) / scale, -CLIP, CLIP)


@kernel
def _linear(columns: Array, log_mixture: float, head: Any) -> float:
    """Return the linear member's ratio."""
    total = 0.0
    for index in range(_INPUTS):
        if head.slope[index] != 0.0:
            value = standardised(columns[index], head.centre[index], head.scale[index])
            total += value * head.slope[index]
    if head.slope[_INPUTS] != 0.0:
        value = standardised(log_mixture, head.centre[_INPUTS], head.scale[_INPUTS])
        total += value * head.slope[_INPUTS]
    return math.exp(total + head.intercept)


@kernel
def members(
    scales: Array,
    heads: Records,
    starts: NDArray[np.int64],
    thresholds: Array,
    nodes: Records,
    splits: Records,
    values: Array,
    offsets: Array,
) -> Array:
    """Return each member's variance relative to the level: shape (rows, heads, len(MEMBERS)).

    The arguments after `heads` are those of `tree_sums`, of two groups of trees a head.
    """
    rows, count = len(scales), len(heads)
    terms = mixture_terms(scales)
    mixtures = np.empty((rows, count))
    for row in range(rows):
        for index in range(count):
            mixtures[row, index] = weighted_sum(terms[row], heads[index].mixture)
    columns = inputs(scales, mixtures)
    sums = tree_sums(columns, starts, thresholds, nodes, splits, values, offsets)
    found = np.empty((rows, count, len(MEMBERS)))
    for row in range(rows):
        for index in range(count):
            member, mixture = found[row, index], mixtures[row, index]
            member[0] = mixture
            member[1] = _linear(columns[row], columns[row, _INPUTS + index], heads[index])
            member[2] = sums[row, 2 * index]
            # The residual trees are fitted to the ratio that the mixture leaves.
            member[3] = sums[row, 2 * index + 1] * mixture
            member[4] = 1.0
    return found


@kernel
def blends(ratios: Array, scales: Array, heads: Records) -> Array:
    """Return the expected realised variances from the ratios of `members`: (rows, heads)."""
    found = np.empty((len(scales), len(heads)))
    for row in range(len(scales)):
        for index in range(len(heads)):
            head = heads[index]
            ratio = at_least(weighted_sum(ratios[row, index], head.weights), MIN_LEVEL_SHARE)
            level = floored_level_variance(scales[row], head.season, head.horizon_s)
            found[row, index] = ratio * level
    return found
