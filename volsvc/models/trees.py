"""Boosted trees as plain arrays, read by bit masks.

Each tree has at most 16 leaves, so a tree's leaves fit into 16 bits. A row that lies above a node's
threshold cannot reach the leaves to the left of it; the bitwise or of those, over all nodes of the
tree, leaves one leaf: the lowest bit that is not set. (QuickScorer: Lucchese et al., SIGIR 2015.)
All trees are read at once, a node of each at a time, which is some ten times the speed of walking
them with numpy, and a row's result never depends on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_LEAVES = 16
# Rows at a time: their masks stay in the processor's cache.
CHUNK = 32
# Up to so many rows are compared with the thresholds one by one, without ranks.
FEW = 4

Integers = NDArray[np.intp]


class Leaves(NamedTuple):
    """For each node the first leaf below it, from left to right, and the number of them.

    Nodes that cannot be reached have no leaf below them. Both are of shape (trees, nodes).
    """

    first: Integers
    below: Integers


def _lowest_clear() -> NDArray[np.uint8]:
    masks = range((1 << MOST_LEAVES) - 1)
    return np.array([(~mask & (mask + 1)).bit_length() - 1 for mask in masks], dtype=np.uint8)


_LOWEST_CLEAR = _lowest_clear()


class Forest:
    """Sums of trees: for each group exp(offset + one leaf of each of its trees)."""

    def __init__(
        self,
        arrays: Mapping[str, NDArray[np.generic]],
        offsets: Sequence[float],
        leaves: Leaves | None = None,
    ) -> None:
        """Takes arrays of shape (trees, nodes).

        `feature` (-1 at a leaf), `threshold` (x <= threshold goes left), `left`, `right` (node
        numbers) and `value` (of leaves). The trees belong to as many groups of equal size, one
        after another, as there are `offsets`. `leaves` are given for trees that were checked.

        Raises ValueError when they are no trees of at most 16 leaves.
        """
        self.arrays = {name: np.asarray(array) for name, array in arrays.items()}
        self.offsets = np.asarray(offsets, dtype=np.float64)
        if len(self.arrays["feature"]) % len(self.offsets):
            raise ValueError(f"{len(self.offsets)} groups of trees are not of equal size")
        self.leaves = leaves_of(self.arrays) if leaves is None else leaves

    @cached_property
    def _splits(self) -> _Splits:
        # Forests that are only read as a part of others need none.
        return _Splits.of(self.arrays, self.leaves)

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sums for each row of a matrix without NaN, of shape (rows, groups)."""
        leaves = self._splits.leaves(features)
        sums = leaves.reshape(len(features), len(self.offsets), -1).sum(axis=2)
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
        first, count = zip(*(forest.leaves for forest in forests), strict=True)
        leaves = Leaves(np.concatenate(first), np.concatenate(count))
        return cls(arrays, np.concatenate([forest.offsets for forest in forests]).tolist(), leaves)

    def leading(self, groups: int) -> Forest:
        """Its first groups alone."""
        trees = groups * (len(self.arrays["feature"]) // len(self.offsets))
        arrays = {name: array[:trees] for name, array in self.arrays.items()}
        leaves = Leaves(*(part[:trees] for part in self.leaves))
        part = Forest(arrays, self.offsets[:groups].tolist(), leaves)
        part._splits = self._splits.leading(trees)
        return part


@dataclass(frozen=True)
class _Splits:
    """The inner nodes of all trees: the n-th of every tree side by side, shape (n, trees).

    `edges` are the thresholds of each feature in order, `rank` the place of a node's among them;
    `values` those of the leaves, of shape (trees, MOST_LEAVES).
    """

    feature: Integers
    threshold: NDArray[np.float64]
    left: NDArray[np.uint16]
    rank: NDArray[np.int16]
    edges: Sequence[NDArray[np.float64]]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.generic]], leaves: Leaves) -> _Splits:
        """The trees of arrays of shape (trees, nodes)."""
        first, count = leaves
        is_leaf = np.asarray(arrays["feature"], dtype=np.intp) < 0
        trees, nodes = np.nonzero((count == 1) & is_leaf)
        values = np.zeros((len(first), MOST_LEAVES))
        values[trees, first[trees, nodes]] = arrays["value"][trees, nodes]
        split = (count > 0) & ~is_leaf
        trees, nodes = np.nonzero(split)
        place = (split.cumsum(axis=1) - 1)[trees, nodes], trees
        shape = (max(1, int(split.sum(axis=1).max())), len(split))
        lower = arrays["left"][trees, nodes].astype(np.intp)
        # Where a tree has fewer nodes, no row lies above the threshold, and no leaf to the left.
        feature = np.zeros(shape, dtype=np.intp)
        threshold = np.full(shape, np.inf)
        left = np.zeros(shape, dtype=np.uint16)
        feature[place] = arrays["feature"][trees, nodes]
        threshold[place] = arrays["threshold"][trees, nodes]
        left[place] = ((1 << count[trees, lower]) - 1) << first[trees, lower]
        edges, rank = _ranked(feature, threshold)
        return cls(feature, threshold, left, rank, edges, values)

    def leading(self, trees: int) -> _Splits:
        """Those of the first trees, side by side in memory again."""
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
        return np.arange(len(self.values)) * MOST_LEAVES

    def leaves(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value of the leaf that each row reaches in each tree, shape (rows, trees)."""
        if len(features) <= FEW:
            removed = np.array([self.removed_of(row) for row in features])
            return self._left_over(removed.reshape(len(features), len(self.values)))
        ranks = self.ranks(features)
        parts = [
            self._left_over(self.removed(ranks[:, start : start + CHUNK]))
            for start in range(0, len(features), CHUNK)
        ]
        return np.concatenate(parts)

    def _left_over(self, removed: NDArray[np.uint16]) -> NDArray[np.float64]:
        return self.values.take(self._starts + _LOWEST_CLEAR[removed])

    def removed_of(self, row: NDArray[np.float64]) -> NDArray[np.uint16]:
        """The leaves of each tree that a row cannot reach, shape (trees,)."""
        above = row.take(self.feature) > self.threshold
        return np.asarray(np.bitwise_or.reduce(self.left * above, axis=0))

    def ranks(self, features: NDArray[np.float64]) -> NDArray[np.int16]:
        """For each feature and row how many thresholds of the feature lie below."""
        ranks = [np.searchsorted(e, features[:, i]) for i, e in enumerate(self.edges)]
        return np.array(ranks, dtype=np.int16)

    def removed(self, ranks: NDArray[np.int16]) -> NDArray[np.uint16]:
        """The leaves of each tree that rows cannot reach, shape (rows, trees)."""
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
    """Each feature's thresholds in order, and for each node the place of its own among them."""
    edges, rank = [], np.zeros(feature.shape, dtype=np.int16)
    for index in range(int(feature.max()) + 1):
        own = feature == index
        found, places = np.unique(threshold[own], return_inverse=True)
        edges.append(found)
        rank[own] = places
    return edges, rank


def leaves_of(arrays: Mapping[str, NDArray[np.generic]]) -> Leaves:
    """Where the leaves of trees of shape (trees, nodes) lie; raises ValueError for others."""
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
    return Leaves(first, count)


def _levels(feature: Integers, left: Integers, right: Integers) -> list[tuple[Integers, Integers]]:
    """The trees and nodes of each level, from the roots on; every node is met once."""
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
            raise ValueError("no tree: a node leads to one that another leads to, or to none")
        levels.append((trees, nodes))
        inner = feature[trees, nodes] >= 0
        trees, nodes = trees[inner], nodes[inner]
        below = np.concatenate((left[trees, nodes], right[trees, nodes]))
        trees, nodes = np.concatenate((trees, trees)), below
    return levels
