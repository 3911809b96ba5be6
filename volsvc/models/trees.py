"""Boosted trees as plain arrays, read by bit masks.

Each tree has at most 16 leaves, so a tree's leaves fit into 16 bits. A row that lies above a node's
threshold cannot reach the leaves to the left of it; the bitwise or of those, over all nodes of the
tree, leaves one leaf: the lowest bit that is not set. (QuickScorer: Lucchese et al., SIGIR 2015.)
All trees are read at once, a node of each at a time, which is some ten times the speed of walking
them with numpy, and a row's result never depends on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

MOST_LEAVES = 16
CHUNK = 32
"""Rows at a time: their masks stay in the processor's cache."""
FEW = 4
"""Up to so many rows are compared with the thresholds one by one, without ranks."""

Integers = NDArray[np.intp]


def _lowest_clear() -> NDArray[np.uint8]:
    masks = range((1 << MOST_LEAVES) - 1)
    return np.array([(~mask & (mask + 1)).bit_length() - 1 for mask in masks], dtype=np.uint8)


_LOWEST_CLEAR = _lowest_clear()


class Forest:
    """Sums of trees: for each group exp(offset + one leaf of each of its trees)."""

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]], offsets: Sequence[float]) -> None:
        """Takes arrays of shape (trees, nodes).

        `feature` (-1 at a leaf), `threshold` (x <= threshold goes left), `left`, `right` (node
        numbers) and `value` (of leaves). The trees belong to as many groups of equal size, one
        after another, as there are `offsets`.

        Raises ValueError when they are no trees of at most 16 leaves.
        """
        self.arrays = {name: np.asarray(array) for name, array in arrays.items()}
        self.offsets = np.asarray(offsets, dtype=np.float64)
        if len(self.arrays["feature"]) % len(self.offsets):
            raise ValueError(f"{len(self.offsets)} groups of trees are not of equal size")
        first, count = _leaves(self.arrays)
        trees, nodes = np.nonzero((count == 1) & (self.arrays["feature"] < 0))
        self._values = np.zeros((len(first), MOST_LEAVES))
        self._values[trees, first[trees, nodes]] = self.arrays["value"][trees, nodes]
        self._starts = np.arange(len(first)) * MOST_LEAVES
        self._splits = _Splits(self.arrays, first, count)

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sums for each row of a matrix without NaN, of shape (rows, groups)."""
        if len(features) <= FEW:
            removed = np.array([self._splits.removed_of(row) for row in features])
            return self._summed(removed.reshape(len(features), len(self._starts)))
        ranks = self._splits.ranks(features)
        parts = [
            self._summed(self._splits.removed(ranks[:, start : start + CHUNK]))
            for start in range(0, len(features), CHUNK)
        ]
        return np.concatenate(parts)

    def _summed(self, removed: NDArray[np.uint16]) -> NDArray[np.float64]:
        """For the leaves that rows cannot reach, of shape (rows, trees)."""
        leaves = self._values.take(self._starts + _LOWEST_CLEAR[removed])
        sums = leaves.reshape(len(removed), len(self.offsets), -1).sum(axis=2)
        return np.asarray(np.exp(sums + self.offsets))

    @classmethod
    def joined(cls, forests: Sequence[Forest], columns: Sequence[Sequence[int]]) -> Forest:
        """Forests of equal size as one; `columns` says for each where its features stand now."""
        arrays = {
            name: np.concatenate([forest.arrays[name] for forest in forests])
            for name in forests[0].arrays
        }
        features = [
            np.append(np.asarray(places), -1)[forest.arrays["feature"].astype(np.intp)]
            for forest, places in zip(forests, columns, strict=True)
        ]
        arrays["feature"] = np.concatenate(features)
        return cls(arrays, np.concatenate([forest.offsets for forest in forests]).tolist())


class _Splits:
    """The inner nodes of all trees: the n-th of every tree side by side, shape (n, trees)."""

    def __init__(
        self, arrays: Mapping[str, NDArray[np.generic]], first: Integers, count: Integers
    ) -> None:
        split = (count > 0) & (np.asarray(arrays["feature"], dtype=np.intp) >= 0)
        trees, nodes = np.nonzero(split)
        place = (split.cumsum(axis=1) - 1)[trees, nodes], trees
        shape = (max(1, int(split.sum(axis=1).max())), len(split))
        left = arrays["left"][trees, nodes].astype(np.intp)
        to_the_left = ((1 << count[trees, left]) - 1) << first[trees, left]
        # Where a tree has fewer nodes, no row lies above the threshold, and no leaf to the left.
        self._feature = np.zeros(shape, dtype=np.intp)
        self._threshold = np.full(shape, np.inf)
        self._left = np.zeros(shape, dtype=np.uint16)
        self._feature[place] = arrays["feature"][trees, nodes]
        self._threshold[place] = arrays["threshold"][trees, nodes]
        self._left[place] = to_the_left
        self._edges = [
            np.unique(self._threshold[self._feature == index])
            for index in range(int(self._feature.max()) + 1)
        ]
        self._rank = np.zeros(shape, dtype=np.int16)
        for index, edges in enumerate(self._edges):
            own = self._feature == index
            self._rank[own] = np.searchsorted(edges, self._threshold[own])

    def removed_of(self, row: NDArray[np.float64]) -> NDArray[np.uint16]:
        """The leaves of each tree that a row cannot reach, shape (trees,)."""
        above = row.take(self._feature) > self._threshold
        return np.asarray(np.bitwise_or.reduce(self._left * above, axis=0))

    def ranks(self, features: NDArray[np.float64]) -> NDArray[np.int16]:
        """For each feature and row how many thresholds of the feature lie below."""
        ranks = [np.searchsorted(e, features[:, i]) for i, e in enumerate(self._edges)]
        return np.array(ranks, dtype=np.int16)

    def removed(self, ranks: NDArray[np.int16]) -> NDArray[np.uint16]:
        """The leaves of each tree that rows cannot reach, shape (rows, trees)."""
        removed = np.zeros((self._rank.shape[1], ranks.shape[1]), dtype=np.int16)
        signed = self._left.view(np.int16)
        for feature, rank, left in zip(self._feature, self._rank, signed, strict=True):
            # The sign of the difference, spread over all bits, is the mask of the rows above.
            above = ranks.take(feature, axis=0)
            np.subtract(rank[:, None], above, out=above)
            above >>= 15
            above &= left[:, None]
            removed |= above
        return np.ascontiguousarray(removed.T).view(np.uint16)


def _leaves(arrays: Mapping[str, NDArray[np.generic]]) -> tuple[Integers, Integers]:
    """For each node how many leaves lie below it, and which is the first, from left to right.

    Nodes that cannot be reached have no leaf below them.
    """
    feature, left, right = (
        np.asarray(arrays[name], dtype=np.intp) for name in ("feature", "left", "right")
    )
    levels = _levels(feature, left, right)
    count, first = np.zeros_like(feature), np.zeros_like(feature)
    for trees, nodes in reversed(levels):
        below = count[trees, left[trees, nodes]] + count[trees, right[trees, nodes]]
        count[trees, nodes] = np.where(feature[trees, nodes] < 0, 1, below)
    for trees, nodes in levels:
        inner = feature[trees, nodes] >= 0
        trees, nodes = trees[inner], nodes[inner]
        a, b = left[trees, nodes], right[trees, nodes]
        first[trees, a] = first[trees, nodes]
        first[trees, b] = first[trees, nodes] + count[trees, a]
    fault = np.nonzero(count[:, 0] > MOST_LEAVES)[0]
    if len(fault):
        raise ValueError(f"tree {fault[0]} has more than {MOST_LEAVES} leaves")
    return first, count


def _levels(feature: Integers, left: Integers, right: Integers) -> list[tuple[Integers, Integers]]:
    """The trees and nodes of each level, from the roots on; every node is met once."""
    seen = np.zeros(feature.shape, dtype=bool)
    trees, nodes = np.arange(len(feature)), np.zeros(len(feature), dtype=np.intp)
    levels = []
    while len(trees):
        places = trees * feature.shape[1] + nodes
        inside = (nodes >= 0) & (nodes < feature.shape[1])
        if not inside.all() or seen.flat[places].any() or len(np.unique(places)) < len(places):
            raise ValueError("no tree: a node leads to one that another leads to, or to none")
        seen.flat[places] = True
        levels.append((trees, nodes))
        inner = feature[trees, nodes] >= 0
        trees, nodes = trees[inner], nodes[inner]
        below = np.concatenate((left[trees, nodes], right[trees, nodes]))
        trees, nodes = np.concatenate((trees, trees)), below
    return levels
