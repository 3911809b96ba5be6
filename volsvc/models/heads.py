"""One horizon's model of the multi-scale state: a blend of four simple ones.

Each member says how far the variance of the horizon will lie from the symbol's slow level times the
daily pattern; the blend is their weighted mean, with the slow level itself as the fifth.
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
# What the linear member and the trees read, beside the logarithm of the mixture.
INPUTS: Final = tuple(
    n
    for n in SCALE_NAMES
    if n not in ("level", "resolution") and (n == "season_log" or not n.startswith("season_"))
)
MEMBERS: Final = ("mixture", "linear", "trees", "residual_trees", "level")
# Bound on the logarithm of realised over range variance: a factor of three.
MOST_LOG_RATIO: Final = 1.1
# Standard deviations at which the linear member's inputs are cut off.
CLIP = 5.0
# Least forecast relative to the slow level: a feed that was silent is no promise of calm.
LEAST_OF_LEVEL = 0.02

_AT = {name: index for index, name in enumerate(SCALE_NAMES)}
_INPUT_AT = np.array([_AT[name] for name in INPUTS])
_MIXED_AT = np.array([_AT[name] for name in VARIANCES + RANGES])
_LEVEL_AT = _AT["level"]


def level_variance(scales: Array, horizon_s: float) -> Array:
    """The slow level times the daily pattern over a horizon of the heads, per horizon."""
    season = _AT[f"season_{round(horizon_s)}s"]
    base = scales[:, _LEVEL_AT] * scales[:, season] * horizon_s
    return np.maximum(base, FLOOR_PER_MINUTE * horizon_s / 60)


def variance_over_range(scales: Array) -> Array:
    """The symbol's realised variance over Parkinson's, of the last six hours, shape (rows,).

    One minute ahead the head is fitted to ranges, since from bars a single squared return says next
    to nothing. What the range misses or adds (discrete trading, bounce) differs by venue and by
    whether ticks or bars are seen; each symbol's own ratio makes realised variance of it.
    """
    log_ratio = scales[:, _AT["variance_360m"]] - scales[:, _AT["range_360m"]]
    return np.exp(np.clip(log_ratio, -MOST_LOG_RATIO, MOST_LOG_RATIO))


def mixture_terms(scales: Array) -> Array:
    """Variances and ranges relative to the level, and 1: a column each, and one more for 1."""
    return np.concatenate((np.exp(scales[:, _MIXED_AT]), np.ones((len(scales), 1))), axis=1)


def inputs(scales: Array, mixture: Array) -> Array:
    """What the linear member and the trees read: shape (rows, len(INPUTS) + 1)."""
    return np.concatenate((scales[:, _INPUT_AT], np.log(mixture)[:, None]), axis=1)


def weighted(columns: Array, weights: Array) -> Array:
    """Weighted sums along rows; a column without a weight does not count, whatever is in it.

    A matrix product would do, but its rounding depends on how many rows there are.
    """
    if not weights.all():
        used = weights != 0
        columns, weights = columns[:, used], weights[used]
    return np.asarray(np.multiply(columns, weights, order="C").sum(axis=1))


@dataclass(frozen=True)
class Head:
    """A fitted horizon; its methods take rows of shape (rows, len(SCALE_NAMES)).

    `forest` has two groups: the trees and the residual trees.
    """

    horizon_s: float
    mixture: Array
    centre: Array
    scale: Array
    slope: Array
    intercept: float
    forest: Forest
    weights: Array

    def mixed(self, scales: Array) -> Array:
        """The mixture's variance relative to the level, shape (rows,)."""
        return weighted(mixture_terms(scales), self.mixture)

    def members(self, scales: Array, mixture: Array, grown: Array) -> Array:
        """Each member's variance relative to the level: shape (rows, len(MEMBERS)).

        `grown` is what the trees and the residual trees say, of shape (rows, 2).
        """
        read = inputs(scales, mixture)
        linear = weighted(np.clip((read - self.centre) / self.scale, -CLIP, CLIP), self.slope)
        return np.column_stack(
            (
                mixture,
                np.exp(linear + self.intercept),
                grown[:, 0],
                grown[:, 1] * mixture,
                np.ones(len(scales)),
            )
        )

    def blend(self, members: Array, scales: Array) -> Array:
        """Expected realised variance out of what the members say, shape (rows,)."""
        ratio = np.maximum(weighted(members, self.weights), LEAST_OF_LEVEL)
        return ratio * level_variance(scales, self.horizon_s)

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """Everything, as arrays by name."""
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
        """What `arrays` gave; raises KeyError or ValueError when something is missing or wrong."""

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
    """Fitted horizons together: their trees are read in one pass."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self.heads = tuple(heads)
        shared = list(range(len(INPUTS)))
        # They read the same columns but the last, which is each one's own mixture.
        columns = [[*shared, len(INPUTS) + index] for index in range(len(heads))]
        whole = Forest.joined([head.forest for head in heads], columns)
        groups = len(whole.offsets) // len(heads)
        # Whoever asks for short horizons only does not pay for the trees of the long ones.
        parts = [whole.leading(groups * count) for count in range(1, len(heads))]
        self._forests = [*parts, whole]

    def members(self, scales: Array, count: int) -> list[Array]:
        """For each of the first `count` horizons what its members say: (rows, len(MEMBERS))."""
        heads = self.heads[:count]
        mixtures = [head.mixed(scales) for head in heads]
        read = np.column_stack((scales[:, _INPUT_AT], *map(np.log, mixtures)))
        grown = self._forests[count - 1].predict(read)
        return [
            head.members(scales, mixture, grown[:, 2 * index : 2 * index + 2])
            for index, (head, mixture) in enumerate(zip(heads, mixtures, strict=True))
        ]

    def variances(self, scales: Array, count: int) -> Array:
        """Expected realised variance over the first `count` horizons, shape (rows, count)."""
        members = self.members(scales, count)
        pairs = zip(self.heads[:count], members, strict=True)
        return np.column_stack([head.blend(said, scales) for head, said in pairs])


TREE_ARRAYS: Final = ("feature", "threshold", "left", "right", "value")
