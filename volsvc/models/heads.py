"""One horizon's model of the multi-scale state: a blend of five members.

Each member forecasts the ratio of the horizon's variance to the symbol's slow level times the daily
pattern: a mixture of exponentially weighted variances, a gamma regression, two groups of boosted
trees, and the level itself, whose ratio is 1. The blend is their weighted mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.features import SCALE_NAMES
from volsvc.models.kernels import heads as kernels
from volsvc.models.kernels.heads import INPUTS
from volsvc.models.trees import Forest

Array = NDArray[np.float64]

# Groups of trees of a head: the trees and the residual trees.
GROUPS: Final = 2
TREE_ARRAYS: Final = ("feature", "threshold", "left", "right", "value")


@dataclass(frozen=True)
class Head:
    """A fitted horizon.

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
    """The fitted horizons together, whose trees are evaluated in one pass.

    Methods take rows of shape (rows, len(SCALE_NAMES)).
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        """Join the heads. Raises ValueError if parameters have other sizes than the inputs."""
        self.heads = tuple(heads)
        shared = list(range(len(INPUTS)))
        # All trees read the same columns but the last, which is each head's own mixture.
        columns = [[*shared, len(INPUTS) + index] for index in range(len(heads))]
        whole = Forest.joined([head.forest for head in heads], columns)
        if len(whole.offsets) != GROUPS * len(heads):
            raise ValueError(f"a head has {GROUPS} groups of trees")
        # A request for short horizons only does not pay for the trees of the long ones.
        parts = [whole.leading(GROUPS * count) for count in range(1, len(heads))]
        self._forests = [*parts, whole]
        self._records = np.zeros(len(heads), dtype=kernels.HEAD)
        for index, head in enumerate(heads):
            self._records[index] = _record_of(head)

    def arguments(self, count: int) -> tuple[Any, ...]:
        """Return the first `count` horizons and their trees, as kernels take them."""
        return (self._records[:count], *self._forests[count - 1].flat)

    def members(self, scales: Array, count: int) -> Array:
        """Return each member's variance relative to the level: (rows, count, len(MEMBERS))."""
        return kernels.members(scales_matrix(scales), *self.arguments(count))

    def blend(self, members: Array, scales: Array) -> Array:
        """Return the expected realised variances from the members' ratios: (rows, count)."""
        assert len(members) == len(scales), "each row has members"
        return kernels.blends(members, scales_matrix(scales), self._records[: members.shape[1]])


def _record_of(head: Head) -> tuple[Any, ...]:
    """Return the fields of a record of kernels; ValueError if one has another size."""
    season = SCALE_NAMES.index(f"season_{round(head.horizon_s)}s")
    arrays = (head.mixture, head.centre, head.scale, head.slope, head.weights)
    names = ("mixture", "centre", "scale", "slope", "weights")
    for name, array in zip(names, arrays, strict=True):
        # A shorter array would be repeated to the field's size.
        if np.shape(array) != kernels.HEAD[name].shape:
            raise ValueError(f"{name} of a head has the shape {np.shape(array)}")
    return (head.horizon_s, season, *arrays[:4], head.intercept, head.weights)


def scales_matrix(scales: Array) -> Array:
    """Return rows of scales as kernels read them; ValueError for a wrong number of columns."""
    scales = np.ascontiguousarray(scales, dtype=np.float64)
    if scales.ndim != 2 or scales.shape[1] != len(SCALE_NAMES):
        raise ValueError(f"scales have the shape {scales.shape}, not (rows, {len(SCALE_NAMES)})")
    return scales


def level_variance(scales: Array, horizon_s: float) -> Array:
    """Return the slow level times the daily pattern over a fitted horizon, shape (rows,)."""
    season = SCALE_NAMES.index(f"season_{round(horizon_s)}s")
    return kernels.floored_level_variances(scales_matrix(scales), season, horizon_s)


def variance_over_range(scales: Array) -> Array:
    """Return each symbol's realised over Parkinson's variance, shape (rows,); see the kernel."""
    return kernels.variances_over_ranges(scales_matrix(scales))
