"""Boosted trees as plain arrays: their checks, and the order in which kernels read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.models.kernels.trees import LEAF_CODES, MAX_LEAVES, tree_sums

Integers = NDArray[np.intp]


class Leaves(NamedTuple):
    """The first leaf below each node, counted from left to right, and the number of leaves below.

    Nodes that cannot be reached have no leaf below them. Both are of shape (trees, nodes).
    """

    first: Integers
    below: Integers


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
    def flat(self) -> FlatForest:
        """The forest as kernels/trees.py reads it."""
        # Built on first use: the forests of single heads are only joined, never evaluated.
        return FlatForest.of(self)

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums for each row of a matrix without NaN, of shape (rows, groups).

        Raises ValueError if the matrix has fewer columns than the trees read.
        """
        features = np.ascontiguousarray(features, dtype=np.float64)
        if features.shape[1] < len(self.flat.starts) - 1:
            raise ValueError(f"the trees read {len(self.flat.starts) - 1} columns")
        return tree_sums(features, *self.flat)

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
        return Forest(arrays, self.offsets[:groups].tolist(), leaves)


class FlatForest(NamedTuple):
    """The arguments of `tree_sums` after the rows; see there."""

    starts: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    nodes: NDArray[Any]
    splits: NDArray[Any]
    values: NDArray[np.float64]
    offsets: NDArray[np.float64]

    @classmethod
    def of(cls, forest: Forest) -> FlatForest:
        """Return a forest whose nodes are in the orders of kernels."""
        arrays, (first, count) = forest.arrays, forest.leaves
        trees, nodes = np.nonzero(count == 1)
        values = np.zeros((len(first), MAX_LEAVES))
        values[trees, LEAF_CODES[first[trees, nodes]]] = arrays["value"][trees, nodes]
        inner = count > 1
        trees, nodes = np.nonzero(inner)
        feature = arrays["feature"][trees, nodes].astype(np.intp)
        if feature.min(initial=0) < 0:
            raise ValueError("a comparison of a tree reads no feature")
        threshold = arrays["threshold"][trees, nodes].astype(np.float64)
        lower = arrays["left"][trees, nodes].astype(np.intp)
        removed = ((1 << count[trees, lower]) - 1) << first[trees, lower]
        kept = (~removed).astype(np.uint16)
        # By feature and threshold, so that the nodes that a row lies above are the first ones.
        order = np.lexsort((threshold, feature))
        thresholds = threshold[order]
        # At least one feature, which the nodes that fill up trees name.
        starts = np.searchsorted(feature[order], np.arange(feature.max(initial=0) + 2))
        by_threshold = np.zeros(len(order), dtype=_node_type(len(first)))
        by_threshold["tree"], by_threshold["mask"] = trees[order], kept[order]
        place = _places(feature, threshold, starts, thresholds)
        # A tree with fewer nodes is filled up with nodes that remove nothing.
        splits = np.zeros((len(first), max(1, inner.sum(axis=1).max())), _split_type(place))
        splits["mask"] = -1
        at = trees, (inner.cumsum(axis=1) - 1)[trees, nodes]
        splits["feature"][at], splits["place"][at] = feature, place
        splits["mask"][at] = kept.view(np.int16)
        return cls(starts, thresholds, by_threshold, splits, values, forest.offsets)


def _places(
    feature: Integers,
    threshold: NDArray[np.float64],
    starts: NDArray[np.int64],
    thresholds: NDArray[np.float64],
) -> Integers:
    """Return the number of a feature's thresholds below that of each node.

    A row lies above a threshold exactly if more of them are below its value, so that blocks of rows
    compare whole numbers of 16 bits.
    """
    place = np.empty_like(feature)
    for index in range(len(starts) - 1):
        own = feature == index
        sorted_thresholds = thresholds[starts[index] : starts[index + 1]]
        place[own] = np.searchsorted(sorted_thresholds, threshold[own])
    return place


def _node_type(trees: int) -> np.dtype[Any]:
    """Return the record of a node in the order of thresholds, as small as the forest allows."""
    tree = np.uint16 if trees < 1 << 16 else np.uint32
    # Records have their fields as attributes in Python too, where kernels are not compiled.
    return np.dtype((np.record, [("tree", tree), ("mask", np.uint16)]))


def _split_type(place: Integers) -> np.dtype[Any]:
    """Return the record of a node in the order of trees, as small as the forest allows."""
    small = place.max(initial=0) < np.iinfo(np.int16).max
    fields = [
        ("feature", np.uint16),
        ("place", np.int16 if small else np.int32),
        ("mask", np.int16),
    ]
    return np.dtype((np.record, fields))


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
