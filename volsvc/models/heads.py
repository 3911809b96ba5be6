"""One horizon's model of the multi-scale state: a blend of five members.

Each member forecasts the ratio of the horizon's variance to the symbol's slow level times the daily
pattern: a mixture of exponentially weighted variances, a gamma regression, two groups of boosted
trees, and the level itself, whose ratio is 1. The blend is their weighted mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from volsvc.features import FLOOR_PER_MINUTE, SCALE_NAMES
from volsvc.models.trees import Forest

Array = NDArray[np.float64]

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
TREE_ARRAYS: Final = ("feature", "threshold", "left", "right", "value")
# Bound on the logarithm of realised over range variance: a factor of three.
MAX_LOG_RATIO: Final = 1.1
# Standard deviations at which the linear member's inputs are cut off; its forecast is the
# exponential of their sum.
CLIP = 5.0
# Least forecast relative to the slow level: a feed that was silent does not mean a calm market.
MIN_LEVEL_SHARE = 0.02

_COLUMN = {name: index for index, name in enumerate(SCALE_NAMES)}
_INPUT_COLUMNS = np.array([_COLUMN[name] for name in INPUTS])
_MIXTURE_COLUMNS = np.array([_COLUMN[name] for name in VARIANCES + RANGES])
_LEVEL_COLUMN = _COLUMN["level"]


def level_variance(scales: Array, horizon_s: float) -> Array:
    """Return the slow level times the daily pattern over a fitted horizon, shape (rows,)."""
    season = _COLUMN[f"season_{round(horizon_s)}s"]
    base = scales[:, _LEVEL_COLUMN] * scales[:, season] * horizon_s
    return np.maximum(base, FLOOR_PER_MINUTE * horizon_s / 60)


def variance_over_range(scales: Array) -> Array:
    """Return the symbol's realised over Parkinson's variance of the last six hours, shape (rows,).

    One minute ahead the head is fitted to ranges, since from bars a single squared return holds
    almost no information. The difference of the two (discrete trading, bounce) varies by venue and
    between ticks and bars; the symbol's own ratio turns a forecast of the range into one of
    realised variance.
    """
    log_ratio = scales[:, _COLUMN["variance_360m"]] - scales[:, _COLUMN["range_360m"]]
    return np.exp(np.clip(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def mixture_terms(scales: Array) -> Array:
    """Return variances and ranges relative to the level, and a column of ones: a column each."""
    ones = np.ones((len(scales), 1))
    return np.concatenate((np.exp(scales[:, _MIXTURE_COLUMNS]), ones), axis=1)


def inputs(scales: Array, mixture: Array) -> Array:
    """Return the inputs of the linear member and the trees: shape (rows, len(INPUTS) + 1)."""
    return np.concatenate((scales[:, _INPUT_COLUMNS], np.log(mixture)[:, None]), axis=1)


def weighted_sum(columns: Array, weights: Array) -> Array:
    """Return weighted sums along rows; a column of weight 0 is left out, even if it is infinite."""
    if not weights.all():
        used = weights != 0
        columns, weights = columns[:, used], weights[used]
    # A matrix product would do, but its rounding depends on the number of rows.
    return np.asarray(np.multiply(columns, weights, order="C").sum(axis=1))


@dataclass(frozen=True)
class Head:
    """A fitted horizon; its methods take rows of shape (rows, len(SCALE_NAMES)).

    `mixture` are the weights of `mixture_terms`, in the manner of HExp (Bollerslev et al. 2018);
    `centre` and `scale` standardise the inputs of the linear member, whose coefficients are `slope`
    and `intercept`; `forest` has two groups, the trees and the residual trees; `weights` are those
    of the blend.
    """

    horizon_s: float
    mixture: Array
    centre: Array
    scale: Array
    slope: Array
    intercept: float
    forest: Forest
    weights: Array

    def mixture_ratio(self, scales: Array) -> Array:
        """Return the mixture's variance relative to the level, shape (rows,)."""
        return weighted_sum(mixture_terms(scales), self.mixture)

    def members(self, scales: Array, mixture: Array, tree_ratios: Array) -> Array:
        """Return each member's variance relative to the level: shape (rows, len(MEMBERS)).

        `tree_ratios` are the outputs of the trees and the residual trees, of shape (rows, 2).
        """
        columns = inputs(scales, mixture)
        standard = np.clip((columns - self.centre) / self.scale, -CLIP, CLIP)
        linear = weighted_sum(standard, self.slope)
        return np.column_stack(
            (
                mixture,
                np.exp(linear + self.intercept),
                tree_ratios[:, 0],
                # The residual trees are fitted to the ratio that the mixture leaves.
                tree_ratios[:, 1] * mixture,
                np.ones(len(scales)),
            )
        )

    def blend(self, members: Array, scales: Array) -> Array:
        """Return the expected realised variance from the members' ratios, shape (rows,)."""
        ratio = np.maximum(weighted_sum(members, self.weights), MIN_LEVEL_SHARE)
        return ratio * level_variance(scales, self.horizon_s)

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """Return all parameters as arrays by name."""
        return {
            "mixture": self.mixture,
            "centre": self.centre,
            "scale": self.scale,
            "slope": self.slope,
            "intercept": np.array(self.intercept),
            "weights": self.weights,
            "offsets": self.forest.offsets,
            **{f"forest.{name}": array for name, array in self.forest.arrays.items()},
        }

    @classmethod
    def of_arrays(cls, horizon_s: float, arrays: Mapping[str, NDArray[np.generic]]) -> Head:
        """Return the head whose parameters `arrays` gave.

        Raises KeyError or ValueError if an array is missing or not valid.
        """

        def vector(name: str) -> Array:
            return np.asarray(arrays[name], dtype=np.float64)

        trees = {name: arrays[f"forest.{name}"] for name in TREE_ARRAYS}
        return cls(
            horizon_s=horizon_s,
            mixture=vector("mixture"),
            centre=vector("centre"),
            scale=vector("scale"),
            slope=vector("slope"),
            intercept=float(vector("intercept")),
            forest=Forest(trees, vector("offsets").tolist()),
            weights=vector("weights"),
        )


class Heads:
    """The fitted horizons together, whose trees are evaluated in one pass."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self.heads = tuple(heads)
        shared = list(range(len(INPUTS)))
        # All trees read the same columns but the last, which is each head's own mixture.
        columns = [[*shared, len(INPUTS) + index] for index in range(len(heads))]
        whole = Forest.joined([head.forest for head in heads], columns)
        groups = len(whole.offsets) // len(heads)
        # A request for short horizons only does not pay for the trees of the long ones.
        parts = [whole.leading(groups * count) for count in range(1, len(heads))]
        self._forests = [*parts, whole]

    def members(self, scales: Array, count: int) -> list[Array]:
        """Return `Head.members` of each of the first `count` horizons: (rows, len(MEMBERS))."""
        heads = self.heads[:count]
        mixtures = [head.mixture_ratio(scales) for head in heads]
        columns = np.column_stack((scales[:, _INPUT_COLUMNS], *map(np.log, mixtures)))
        tree_ratios = self._forests[count - 1].predict(columns)
        return [
            head.members(scales, mixture, tree_ratios[:, 2 * index : 2 * index + 2])
            for index, (head, mixture) in enumerate(zip(heads, mixtures, strict=True))
        ]

    def variances(self, scales: Array, count: int) -> Array:
        """Return the expected realised variance over the first `count` horizons: (rows, count)."""
        members = self.members(scales, count)
        pairs = zip(self.heads[:count], members, strict=True)
        return np.column_stack([head.blend(ratios, scales) for head, ratios in pairs])
