"""Sums of boosted trees, by bit masks.

This is QuickScorer (Lucchese et al., SIGIR 2015). Each tree has at most 16 leaves, so its leaves
fit into 16 bits, counted from left to right. A row that lies above a node's threshold cannot reach
the leaves to the left of it. The leaves that all such nodes leave are masked together, and the row
reaches the lowest of them.

A few rows are taken one by one: the nodes of a feature stand in the order of their thresholds, so
that those below the row's value are the first ones. For many rows each tree is applied to a block
of rows, whose masks stay in the processor's registers. Both ways give the same leaves, and sum them
in the order of the trees.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.compiled import kernel

Array = NDArray[np.float64]
Records = NDArray[Any]

MAX_LEAVES: Final = 16
# Rows from which on blocks are faster, rows of a block, and rows that an instruction compares.
BLOCK_ROWS_FROM: Final = 16
BLOCK: Final = 256
LANES: Final = 8

_ALL_LEAVES = np.uint16((1 << MAX_LEAVES) - 1)
# Each pattern of four bits occurs once in this number (de Bruijn): its product with a number of one
# bit has another pattern in the upper 4 of 16 bits for each place of that bit. The values of leaves
# stand in the order of these patterns, since no instruction finds the place in many rows at once.
_DE_BRUIJN = 0x09AF
LEAF_CODES: Final = np.array([(_DE_BRUIJN << leaf & 0xFFFF) >> 12 for leaf in range(MAX_LEAVES)])


@kernel
def tree_sums(
    columns: Array,
    starts: NDArray[np.int64],
    thresholds: Array,
    nodes: Records,
    splits: Records,
    values: Array,
    offsets: Array,
) -> Array:
    """Return exp(offset + a leaf of each tree) of each group of trees: shape (rows, groups).

    `columns` are the rows' features, without NaN. `thresholds` and `nodes` (tree, mask of the
    leaves that a row above the threshold may reach) are those of all trees in the order of feature
    and threshold; those of a feature begin at its place in `starts`, whose last item is the end.
    `splits` are the same nodes by tree (feature, place of the threshold in that order from the
    feature's start, mask); `values` those of the leaves by tree, at LEAF_CODES of their places.
    """
    sums = np.empty((len(columns), len(offsets)))
    if len(columns) < BLOCK_ROWS_FROM:
        reached = np.empty(len(values), dtype=np.uint16)
        for row in range(len(columns)):
            _mask_leaves(columns[row], starts, thresholds, nodes, reached)
            _sum_leaves(reached, values, offsets, sums[row])
    else:
        places = np.zeros((len(starts) - 1, BLOCK), dtype=splits["place"].dtype)
        for first in range(0, len(columns), BLOCK):
            last = min(first + BLOCK, len(columns))
            _place_rows(columns[first:last], starts, thresholds, places)
            _sum_block(places, splits, values, offsets, sums[first:last])
    return sums


@kernel
def nodes_below(thresholds: Array, start: int, end: int, value: float) -> int:
    """Return the number of thresholds below a value, of those from `start` to `end`."""
    low, high = start, end
    while low < high:
        middle = (low + high) >> 1
        if thresholds[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low - start


@kernel
def lowest_leaf(reached: np.int64) -> np.int64:
    """Return the code of the lowest leaf of a mask that is not empty."""
    return (((reached & -reached) * _DE_BRUIJN) & 0xFFFF) >> 12


@kernel
def _mask_leaves(
    row: Array,
    starts: NDArray[np.int64],
    thresholds: Array,
    nodes: Records,
    reached: NDArray[np.uint16],
) -> None:
    """Write the mask of the leaves of each tree that a row may reach."""
    reached[:] = _ALL_LEAVES
    for feature in range(len(starts) - 1):
        start = starts[feature]
        below = nodes_below(thresholds, start, starts[feature + 1], row[feature])
        for index in range(np.uint64(start), np.uint64(start + below)):
            node = nodes[index]
            reached[node.tree] &= node.mask


@kernel
def _sum_leaves(reached: NDArray[np.uint16], values: Array, offsets: Array, sums: Array) -> None:
    """Write exp(offset + leaves) of each group."""
    size = len(values) // len(offsets)
    for group in range(len(offsets)):
        total = 0.0
        for tree in range(np.uint64(group * size), np.uint64(group * size + size)):
            total += values[tree, lowest_leaf(np.int64(reached[tree]))]
        sums[group] = math.exp(total + offsets[group])


@kernel
def _place_rows(
    columns: Array, starts: NDArray[np.int64], thresholds: Array, places: NDArray[np.int16]
) -> None:
    """Write the number of each feature's thresholds below each row's value, by feature."""
    for feature in range(len(starts) - 1):
        start, end = starts[feature], starts[feature + 1]
        for row in range(len(columns)):
            places[feature, row] = nodes_below(thresholds, start, end, columns[row, feature])


@kernel
def _sum_block(
    places: NDArray[np.int16], splits: Records, values: Array, offsets: Array, sums: Array
) -> None:
    """Write exp(offset + leaves) of each group for the rows of a block."""
    size = len(values) // len(offsets)
    # A block that is not full has rows of an earlier one or of zeros up to the next whole number of
    # lanes, since a rest would be taken row by row.
    rows = (len(sums) + LANES - 1) // LANES * LANES
    reached = np.empty(rows, dtype=np.int16)
    totals = np.empty(rows)
    for group in range(len(offsets)):
        totals[:] = 0.0
        for tree in range(np.uint64(group * size), np.uint64(group * size + size)):
            reached[:] = -1
            for node in range(splits.shape[1]):
                split = splits[tree, node]
                place, mask = split.place, split.mask
                above = places[split.feature]
                for row in range(rows):
                    reached[row] &= mask if above[row] > place else np.int16(-1)
            # Apart from the sums, so that it takes whole lanes.
            for row in range(rows):
                reached[row] = lowest_leaf(np.int64(reached[row]))
            for row in range(rows):
                totals[row] += values[tree, np.uint64(reached[row])]
        for row in range(len(sums)):
            sums[row, group] = math.exp(totals[row] + offsets[group])
