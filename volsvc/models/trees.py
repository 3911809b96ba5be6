"""Boosted trees as plain arrays, evaluated by bit masks.

This is QuickScorer (Lucchese et al., SIGIR 2015). Each tree has at most 16 leaves, so its leaves
fit into 16 bits. A row that lies above a node's threshold cannot reach the leaves to the left of
it. The bitwise or of those masks over all nodes of the tree leaves one leaf: the lowest bit that is
not set.

All trees are evaluated at once, one node of each at a time, which is about ten times as fast as to
walk them with numpy. The result of a row never depends on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_LEAVES = 16
# Rows at a time: their masks stay in the processor's cache.
CHUNK = 32
# Up to this number of rows each is compared with all thresholds; ranks pay off from there on.
MAX_UNRANKED_ROWS = 4

Integers = NDArray[np.intp]


class Leaves(NamedTuple):
    """The first leaf below each node, counted from left to right, and the number of leaves below.

    Nodes that cannot be reached have no leaf below them. Both are of shape (trees, nodes).
    """

    first: Integers
    below: Integers


# The lowest bit that is not set, by mask: mask & ~(mask + 1) keeps the bits below it. The mask of
# all ones does not occur, since every row reaches a leaf.
_MASKS = np.arange((1 << MAX_LEAVES) - 1)
_LOWEST_CLEAR_BIT: NDArray[np.uint8] = np.bitwise_count(_MASKS & ~(_MASKS + 1))


class Forest:
    """Sums of trees: for each group exp(offset + one leaf of each of its trees)."""

    def __init__(
        self,
        arrays: Mapping[str, NDArray[np.generic]],
        offsets: Sequence[float],
        leaves: Leaves | None = None,
    ) -> None:
        """Build a forest from arrays of shape (trees, nodes).

        The arrays are `feature` (-1 at a leaf), `threshold` (x <= threshold goes left), `left` and
        `right` (node numbers) and `value` (of leaves). The trees form groups of equal size, one
        after another, one group for each of `offsets`. `leaves` are given for trees that were
        checked before.

        Raises ValueError if the arrays are not trees of at most 16 leaves.
        """
        self.arrays = {name: np.asarray(array) for name, array in arrays.items()}
        self.offsets = np.asarray(offsets, dtype=np.float64)
        if len(self.arrays["feature"]) % len(self.offsets):
            raise ValueError(f"{len(self.offsets)} groups of trees are not of equal size")
        self.leaves = leaves_of(self.arrays) if leaves is None else leaves

    @cached_property
    def _splits(self) -> _Splits:
        # Built on first use: the forests of single heads are only joined, never evaluated.
        return _Splits.of(self.arrays, self.leaves)

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums for each row of a matrix without NaN, of shape (rows, groups)."""
        leaves = self._splits.leaves(features)
        # The size of a group is given, because it does not follow from a matrix without rows.
        groups = len(self.offsets)
        sums = leaves.reshape(len(features), groups, leaves.shape[1] // groups).sum(axis=2)
        return np.asarray(np.exp(sums + self.offsets))

    @classmethod
    def joined(cls, forests: Sequence[Forest], columns: Sequence[Sequence[int]]) -> Forest:
        """Return forests of equal size as one; `columns` are the places of each one's features."""
        arrays = {
            name: np.concatenate([forest.arrays[name] for forest in forests])
            for name in forests[0].arrays
        }
        # A leaf has the feature -1, which selects the appended -1.
        features = [
            np.append(np.asarray(places), -1)[forest.arrays["feature"].astype(np.intp)]
            for forest, places in zip(forests, columns, strict=True)
        ]
        arrays["feature"] = np.concatenate(features)
        first, count = zip(*(forest.leaves for forest in forests), strict=True)
        leaves = Leaves(np.concatenate(first), np.concatenate(count))
        return cls(arrays, np.concatenate([forest.offsets for forest in forests]).tolist(), leaves)

    def leading(self, groups: int) -> Forest:
        """Return the first groups as a forest."""
        trees = groups * (len(self.arrays["feature"]) // len(self.offsets))
        arrays = {name: array[:trees] for name, array in self.arrays.items()}
        leaves = Leaves(*(part[:trees] for part in self.leaves))
        part = Forest(arrays, self.offsets[:groups].tolist(), leaves)
        part._splits = self._splits.leading(trees)
        return part


@dataclass(frozen=True)
class _Splits:
    """The inner nodes of all trees: the n-th of every tree side by side, shape (n, trees).

    `left` holds the masks of the leaves to the left of a node. `edges` are the sorted thresholds of
    each feature and `rank` the place of a node's threshold among them. `values` are those of the
    leaves, of shape (trees, MAX_LEAVES).
    """

    feature: Integers
    threshold: NDArray[np.float64]
    left: NDArray[np.uint16]
    rank: NDArray[np.int16]
    edges: Sequence[NDArray[np.float64]]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.generic]], leaves: Leaves) -> _Splits:
        """Return the splits of trees given as arrays of shape (trees, nodes)."""
        first, count = leaves
        trees, nodes = np.nonzero(count == 1)
        values = np.zeros((len(first), MAX_LEAVES))
        values[trees, first[trees, nodes]] = arrays["value"][trees, nodes]
        split = count > 1
        trees, nodes = np.nonzero(split)
        place = (split.cumsum(axis=1) - 1)[trees, nodes], trees
        shape = (max(1, int(split.sum(axis=1).max())), len(split))
        lower = arrays["left"][trees, nodes].astype(np.intp)
        # A tree with fewer nodes is filled up with nodes that remove nothing: no row lies above an
        # infinite threshold, and there is no leaf to the left.
        feature = np.zeros(shape, dtype=np.intp)
        threshold = np.full(shape, np.inf)
        left = np.zeros(shape, dtype=np.uint16)
        feature[place] = arrays["feature"][trees, nodes]
        threshold[place] = arrays["threshold"][trees, nodes]
        left[place] = ((1 << count[trees, lower]) - 1) << first[trees, lower]
        edges, rank = _ranked(feature, threshold)
        return cls(feature, threshold, left, rank, edges, values)

    def leading(self, trees: int) -> _Splits:
        """Return the splits of the first trees, contiguous in memory."""
        feature = np.ascontiguousarray(self.feature[:, :trees])
        return _Splits(
            feature,
            np.ascontiguousarray(self.threshold[:, :trees]),
            np.ascontiguousarray(self.left[:, :trees]),
            np.ascontiguousarray(self.rank[:, :trees]),
            self.edges[: int(feature.max()) + 1],
            self.values[:trees],
        )

    @cached_property
    def _starts(self) -> Integers:
        return np.arange(len(self.values)) * MAX_LEAVES

    def leaves(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the value of the leaf that each row reaches in each tree, shape (rows, trees)."""
        if len(features) <= MAX_UNRANKED_ROWS:
            removed = np.array([self.removed_of(row) for row in features], dtype=np.uint16)
            return self._reached(removed.reshape(len(features), len(self.values)))
        ranks = self.ranks(features)
        parts = [
            self._reached(self.removed(ranks[:, start : start + CHUNK]))
            for start in range(0, len(features), CHUNK)
        ]
        return np.concatenate(parts)

    def _reached(self, removed: NDArray[np.uint16]) -> NDArray[np.float64]:
        return self.values.take(self._starts + _LOWEST_CLEAR_BIT[removed])

    def removed_of(self, row: NDArray[np.float64]) -> NDArray[np.uint16]:
        """Return the mask of the leaves of each tree that a row cannot reach, shape (trees,)."""
        above = row.take(self.feature) > self.threshold
        return np.asarray(np.bitwise_or.reduce(self.left * above, axis=0))

    def ranks(self, features: NDArray[np.float64]) -> NDArray[np.int16]:
        """Return the number of thresholds below each row's value: shape (features, rows)."""
        ranks = [np.searchsorted(e, features[:, i]) for i, e in enumerate(self.edges)]
        return np.array(ranks, dtype=np.int16)

    def removed(self, ranks: NDArray[np.int16]) -> NDArray[np.uint16]:
        """Return the masks of the leaves that rows cannot reach, shape (rows, trees)."""
        removed = np.zeros((self.rank.shape[1], ranks.shape[1]), dtype=np.int16)
        signed = self.left.view(np.int16)
        for feature, rank, left in zip(self.feature, self.rank, signed, strict=True):
            # The sign of the difference, spread over all bits, is the mask of the rows above.
            above = ranks.take(feature, axis=0)
            np.subtract(rank[:, None], above, out=above)
            above >>= 15
            above &= left[:, None]
            removed |= above
        return np.ascontiguousarray(removed.T).view(np.uint16)


def _ranked(
    feature: Integers, threshold: NDArray[np.float64]
) -> tuple[list[NDArray[np.float64]], NDArray[np.int16]]:
    """Return the sorted thresholds of each feature, and the rank of each node's among them.

    A row lies above a threshold exactly if its rank is above the threshold's, so comparisons of
    16-bit integers replace those of floats.
    """
    edges, rank = [], np.zeros(feature.shape, dtype=np.int16)
    for index in range(int(feature.max()) + 1):
        nodes = feature == index
        found, places = np.unique(threshold[nodes], return_inverse=True)
        edges.append(found)
        rank[nodes] = places
    return edges, rank


def leaves_of(arrays: Mapping[str, NDArray[np.generic]]) -> Leaves:
    """Return the leaves below each node of trees of shape (trees, nodes).

    Raises ValueError if the arrays are not trees of at most 16 leaves.
    """
    feature, left, right = (
        np.asarray(arrays[name], dtype=np.intp) for name in ("feature", "left", "right")
    )
    levels = _levels(feature, left, right)
    count, first = np.zeros_like(feature), np.zeros_like(feature)
    # Counts go up from the leaves, places down from the roots.
    for trees, nodes in reversed(levels):
        below = count[trees, left[trees, nodes]] + count[trees, right[trees, nodes]]
        count[trees, nodes] = np.where(feature[trees, nodes] < 0, 1, below)
    for trees, nodes in levels:
        inner = feature[trees, nodes] >= 0
        trees, nodes = trees[inner], nodes[inner]
        a, b = left[trees, nodes], right[trees, nodes]
        first[trees, a] = first[trees, nodes]
        first[trees, b] = first[trees, nodes] + count[trees, a]
    fault = np.nonzero(count[:, 0] > MAX_LEAVES)[0]
    if len(fault):
        raise ValueError(f"tree {fault[0]} has more than {MAX_LEAVES} leaves")
    return Leaves(first, count)


def _levels(feature: Integers, left: Integers, right: Integers) -> list[tuple[Integers, Integers]]:
    """Return the trees and nodes of each level, from the roots down, each node once.

    Raises ValueError if a node is reached twice, which a cycle would do for ever, or does not
    exist.
    """
    seen, met = np.zeros(feature.shape, dtype=bool), 0
    trees, nodes = np.arange(len(feature)), np.zeros(len(feature), dtype=np.intp)
    levels = []
    while len(trees):
        places = trees * feature.shape[1] + nodes
        inside = (nodes >= 0) & (nodes < feature.shape[1])
        if inside.all():
            seen.flat[places] = True
            met += len(places)
        if not inside.all() or np.count_nonzero(seen) < met:
            raise ValueError("not a tree: a node leads to one that another leads to, or to none")
        levels.append((trees, nodes))
        inner = feature[trees, nodes] >= 0
        trees, nodes = trees[inner], nodes[inner]
        below = np.concatenate((left[trees, nodes], right[trees, nodes]))
        trees, nodes = np.concatenate((trees, trees)), below
    return levels
