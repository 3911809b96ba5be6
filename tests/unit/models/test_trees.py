"""Trees as arrays against the predictions of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from volsvc.models.trees import CHUNK, Forest
from volsvc.training.fit import forest_of

RNG = np.random.default_rng(3)
FEATURES = RNG.normal(size=(4_000, 6))
TARGET = np.exp(FEATURES[:, 0] + np.sin(3 * FEATURES[:, 1]) * FEATURES[:, 2]) * RNG.gamma(
    2, size=4_000
)
MODEL = HistGradientBoostingRegressor(
    loss="gamma", max_iter=40, max_leaf_nodes=16, random_state=1
).fit(FEATURES, TARGET)
FOREST = forest_of(MODEL)


def test_same_as_scikit_learn() -> None:
    """Predictions agree, up to thresholds and leaves in single precision."""
    rows = np.random.default_rng(4).normal(size=(2_000, 6))
    ours, theirs = FOREST.predict(rows)[:, 0], MODEL.predict(rows)
    assert np.mean(np.isclose(ours, theirs, rtol=1e-5)) > 0.999


@given(st.lists(st.lists(st.floats(-9, 9), min_size=6, max_size=6), min_size=1, max_size=9))
def test_rows_are_independent(rows: list[list[float]]) -> None:
    """A row's sum is the same alone, among other rows, and in any chunk."""
    matrix = np.array(rows)
    together = FOREST.predict(np.tile(matrix, (CHUNK, 1)))
    for index, row in enumerate(matrix):
        assert (
            FOREST.predict(row[None])[0, 0] == together[index, 0] == together[-len(rows) + index, 0]
        )


def test_joined_forests_predict_as_alone() -> None:
    """Joined forests, with their columns moved, predict as each does alone.

    So does the first of them, separated again.
    """
    moved = FEATURES[:, ::-1]
    joined = Forest.joined([FOREST, FOREST], [range(6), range(5, -1, -1)])
    both = joined.predict(FEATURES[:500])
    assert (both[:, 0] == FOREST.predict(FEATURES[:500])[:, 0]).all()
    assert (both[:, 1] == FOREST.predict(moved[:500])[:, 0]).all()
    for rows in (1, 500):
        assert (joined.leading(1).predict(FEATURES[:rows]) == both[:rows, :1]).all()


def _tree(feature: list[int], left: list[int], right: list[int]) -> dict[str, NDArray[Any]]:
    nothing = np.zeros((1, len(feature)), dtype=np.float32)
    return {
        "feature": np.array([feature], dtype=np.int16),
        "threshold": nothing,
        "left": np.array([left], dtype=np.uint8),
        "right": np.array([right], dtype=np.uint8),
        "value": nothing,
    }


@pytest.mark.parametrize(
    ("left", "right"),
    [([0, 0, 0], [1, 0, 0]), ([1, 0, 0], [1, 0, 0]), ([1, 0, 0], [9, 0, 0])],
    ids=["to itself", "twice to one", "to none"],
)
def test_graphs_that_are_not_trees_are_refused(left: list[int], right: list[int]) -> None:
    """A node that leads to itself, twice to the same node or to none raises ValueError."""
    with pytest.raises(ValueError, match="not a tree: a node leads to"):
        Forest(_tree([0, -1, -1], left, right), [0.0])


def test_too_many_leaves_are_refused() -> None:
    """A tree of more than 16 leaves, and groups of unequal size, raise ValueError."""
    inner = list(range(0, 32, 2))
    feature = [0 if node in inner else -1 for node in range(33)]
    left = [node + 1 if node in inner else 0 for node in range(33)]
    right = [node + 2 if node in inner else 0 for node in range(33)]
    with pytest.raises(ValueError, match="more than 16 leaves"):
        Forest(_tree(feature, left, right), [0.0])
    with pytest.raises(ValueError, match="equal size"):
        Forest(FOREST.arrays, [0.0] * 7)
