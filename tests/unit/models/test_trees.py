"""Trees as arrays against the predictions of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from volsvc.models.kernels import trees as kernels
from volsvc.models.kernels.trees import BLOCK, BLOCK_ROWS_FROM
from volsvc.models.trees import Forest
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
    """A row's sum is the same alone, among other rows, and in any block."""
    matrix = np.array(rows)
    together = FOREST.predict(np.tile(matrix, (BLOCK, 1)))
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


def grown(rng: np.random.Generator, trees: int, columns: int) -> dict[str, NDArray[Any]]:
    """Return trees of 1 to 16 leaves, with ties among thresholds, and nodes that none leads to."""
    nodes = 35
    arrays: dict[str, NDArray[Any]] = {
        "feature": rng.integers(-1, columns, (trees, nodes)).astype(np.int16),
        "threshold": rng.integers(-4, 5, (trees, nodes)).astype(np.float32) / 2,
        "left": rng.integers(0, nodes, (trees, nodes)).astype(np.uint8),
        "right": rng.integers(0, nodes, (trees, nodes)).astype(np.uint8),
        "value": rng.normal(scale=0.1, size=(trees, nodes)).astype(np.float32),
    }
    for tree in range(trees):
        free = rng.permutation(np.arange(1, nodes)).tolist()
        leaves = [0]
        for _ in range(tree % 16):
            node = leaves.pop(rng.integers(len(leaves)))
            children = [free.pop(), free.pop()]
            arrays["feature"][tree, node] = rng.integers(columns)
            arrays["left"][tree, node], arrays["right"][tree, node] = children
            leaves += children
        arrays["feature"][tree, leaves] = -1
        arrays["left"][tree, leaves] = arrays["right"][tree, leaves] = 0
    return arrays


def followed(
    arrays: dict[str, NDArray[Any]], offsets: list[float], rows: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the sums, each tree followed from its root to a leaf."""
    trees, found = np.arange(len(arrays["feature"])), []
    for row in rows:
        at = np.zeros(len(trees), dtype=np.intp)
        while (inner := arrays["feature"][trees, at] >= 0).any():
            goes_left = row[arrays["feature"][trees, at]] <= arrays["threshold"][trees, at]
            below = np.where(goes_left, arrays["left"][trees, at], arrays["right"][trees, at])
            at = np.where(inner, below, at)
        values = arrays["value"][trees, at].astype(np.float64).reshape(len(offsets), -1)
        found.append(np.exp(values.sum(axis=1) + offsets))
    return np.array(found)


SPLIT = {
    "feature": np.array([[0, -1, -1]]),
    "threshold": np.array([[0.0, 0.0, 0.0]]),
    "left": np.array([[1, 0, 0]]),
    "right": np.array([[2, 0, 0]]),
    "value": np.array([[0.0, 1.0, 2.0]]),
}
ROWS = np.random.default_rng(8).integers(-5, 6, (BLOCK + 6, 4)) / 2
OFFSETS = [0.5, -0.25, 0.0]


@pytest.mark.parametrize("seed", range(4))
def test_trees_of_all_shapes_are_followed(seed: int) -> None:
    """Each row reaches the leaf that its comparisons lead to, ties and single leaves included."""
    arrays = grown(np.random.default_rng(seed), 30, 4)
    forest, expected = Forest(arrays, OFFSETS), followed(arrays, OFFSETS, ROWS)
    assert set(forest.leaves.below[:, 0]) == set(range(1, 17))
    for rows in (0, 1, BLOCK_ROWS_FROM - 1, BLOCK_ROWS_FROM, 33, BLOCK, BLOCK + 1, BLOCK + 6):
        found = forest.predict(ROWS[:rows])
        np.testing.assert_allclose(found, expected[:rows], rtol=1e-12)
        assert found.shape == (rows, len(OFFSETS))
        for groups in (1, 2):
            assert (forest.leading(groups).predict(ROWS[:rows]) == found[:, :groups]).all()
    wide = Forest({name: array.astype(np.float64) for name, array in arrays.items()}, OFFSETS)
    assert (wide.predict(ROWS) == forest.predict(ROWS)).all()


@pytest.mark.parametrize("seed", range(2))
def test_forests_of_all_shapes_are_joined(seed: int) -> None:
    """Each forest reads its own columns, a single one as well."""
    rng = np.random.default_rng(seed)
    forests = [Forest(grown(rng, 6, 2), OFFSETS) for _ in range(2)]
    joined = Forest.joined(forests, [(3, 1), (0, 3)])
    parts = [ROWS[:, [3, 1]], ROWS[:, [0, 3]]]
    alone = [forest.predict(rows) for forest, rows in zip(forests, parts, strict=True)]
    assert (joined.predict(ROWS) == np.concatenate(alone, axis=1)).all()
    assert joined.arrays["feature"].min() == -1
    assert joined.offsets.tolist() == OFFSETS * 2
    single = Forest.joined(forests[:1], [(3, 1)])
    assert (single.predict(ROWS) == alone[0]).all()
    with pytest.raises(ValueError, match="shorter"):
        Forest.joined(forests, [(3, 1)])


def test_a_forest_of_leaves_alone() -> None:
    """Trees without a comparison give the same for every row; offsets may be whole numbers."""
    leaf = {name: array[:, :1] for name, array in _tree([-1], [0], [0]).items()}
    forest = Forest({**leaf, "value": np.array([[0.5]])}, [1])
    assert forest.offsets.dtype == np.float64
    for rows in (1, 40):
        assert forest.predict(ROWS[:rows])[:, 0].tolist() == [np.exp(1.5)] * rows


def test_more_thresholds_than_ranks_in_all() -> None:
    """Ranks count the thresholds of one feature, so that those of all may exceed 16 bits."""
    nodes, trees = 31, 2_400
    rng = np.random.default_rng(2)
    inner = np.arange(15)
    arrays: dict[str, NDArray[Any]] = {
        "feature": np.full((trees, nodes), -1),
        "threshold": rng.normal(size=(trees, nodes)),
        "left": np.zeros((trees, nodes), dtype=np.uint8),
        "right": np.zeros((trees, nodes), dtype=np.uint8),
        "value": rng.normal(scale=0.01, size=(trees, nodes)),
    }
    arrays["feature"][:, inner] = rng.integers(0, 2, (trees, 15))
    arrays["left"][:, inner], arrays["right"][:, inner] = 2 * inner + 1, 2 * inner + 2
    # Up to the greatest thresholds.
    rows = np.concatenate((rng.normal(size=(9, 2)), np.linspace(3, 6, 22).reshape(11, 2)))
    forest = Forest(arrays, [0.0])
    expected = followed(arrays, [0.0], rows)
    np.testing.assert_allclose(forest.predict(rows), expected, rtol=1e-9)
    np.testing.assert_allclose(forest.predict(rows[:9]), expected[:9], rtol=1e-9)


def test_more_thresholds_than_16_bits_of_one_feature() -> None:
    """Those of one feature may exceed them too, and so may the number of trees."""
    trees = 66_000
    arrays = {name: np.repeat(array, trees, axis=0) for name, array in SPLIT.items()}
    arrays["threshold"] = np.zeros((trees, 3))
    arrays["threshold"][:, 0] = np.linspace(-1, 1, trees)
    arrays["value"] = np.zeros((trees, 3))
    arrays["value"][:, 1:] = 1e-4, 3e-4
    forest = Forest(arrays, [0.0])
    rows = np.linspace(-1.5, 1.5, BLOCK_ROWS_FROM)[:, None]
    below = [(arrays["threshold"][:, 0] < row).sum() for row in rows[:, 0]]
    expected = np.exp([1e-4 * trees + 2e-4 * count for count in below])[:, None]
    np.testing.assert_allclose(forest.predict(rows), expected, rtol=1e-9)
    np.testing.assert_allclose(forest.predict(rows[-3:]), expected[-3:], rtol=1e-9)


@pytest.mark.parametrize("rows", [3, BLOCK_ROWS_FROM + 1])
def test_kernels_are_plain_python_too(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not compiled, as in a debugger, they give the same to the last bit."""
    forest = Forest(grown(np.random.default_rng(1), 30, 4), OFFSETS)
    compiled = forest.predict(ROWS[:rows])
    for name, kernel in vars(kernels).copy().items():
        if hasattr(kernel, "py_func"):
            monkeypatch.setattr(kernels, name, kernel.py_func)
    assert (kernels.tree_sums(ROWS[:rows], *forest.flat) == compiled).all()


def test_rows_have_the_columns_that_trees_read() -> None:
    """Kernels check no index, so that a matrix of too few columns is refused."""
    with pytest.raises(ValueError, match="the trees read 6 columns"):
        FOREST.predict(FEATURES[:, :5])


def test_comparisons_without_a_feature_are_refused() -> None:
    """A feature that a forest has no column for is no feature of the joined one."""
    split = {**SPLIT, "feature": np.array([[2, -1, -1]])}
    with pytest.raises(ValueError, match="reads no feature"):
        Forest.joined([Forest(split, [0.0])], [(0, 1)]).predict(ROWS)


def test_trees_that_were_checked_are_not_checked_again() -> None:
    """Leaves that are given are kept, also where forests are joined and separated."""
    loop = _tree([0, -1, -1], [0, 0, 0], [1, 0, 0])
    leaves = Forest(_tree([0, -1, -1], [1, 0, 0], [2, 0, 0]), [0.0]).leaves
    forest = Forest(loop, [0.0], leaves)
    assert forest.leaves is leaves
    joined = Forest.joined([forest, forest], [(0,), (0,)])
    assert joined.leaves.first.tolist() == leaves.first.tolist() * 2
    assert joined.leading(1).leaves.below.tolist() == leaves.below.tolist()


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
    [
        ([0, 0, 0], [1, 0, 0]),
        ([1, 0, 0], [1, 0, 0]),
        ([1, 0, 0], [9, 0, 0]),
        ([1, 0, 0], [3, 0, 0]),
    ],
    ids=["to itself", "twice to one", "to none", "to the first of none"],
)
def test_graphs_that_are_not_trees_are_refused(left: list[int], right: list[int]) -> None:
    """A node that leads to itself, twice to the same node or to none raises ValueError."""
    with pytest.raises(ValueError, match=r"^not a tree: a node leads to"):
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
