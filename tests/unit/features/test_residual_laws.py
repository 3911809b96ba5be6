"""Residual laws: bounds, probabilities, and the weights of the two laws."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.laws import normal_laws
from volsvc.features import LEVELS, ResidualLaws
from volsvc.features.kernels.laws import (
    HIGH_LEVEL,
    LOW_LEVEL,
    above,
    bin_of,
    quantile,
    turbulence_weight,
    turbulence_weights,
)

LEVELS_READ = (LOW_LEVEL, 0.5, HIGH_LEVEL)
TOLERANCE = 1e-12


def bounds(laws: ResidualLaws, turbulence: float) -> list[float]:
    """Return low, median and high of the interval at a turbulence weight."""
    calm, turbulent = laws.cumulated
    return [quantile(laws.quantiles, calm, turbulent, turbulence, level) for level in LEVELS_READ]


def probability(laws: ResidualLaws, turbulence: float, residual: float) -> float:
    """Return the probability of a greater residual at a turbulence weight."""
    calm, turbulent = laws.cumulated
    return above(laws.quantiles, calm, turbulent, turbulence, residual)


def mixed(laws: ResidualLaws, turbulence: float) -> np.ndarray:
    """Return the cumulated probabilities of the mixture: the oracle's."""
    calm, turbulent = (law / law[-1] for law in laws.cumulated)
    return np.asarray(calm + (turbulent - calm) * turbulence)


def assert_read_as_interpolated(
    laws: ResidualLaws, turbulence: float, residuals: Iterable[float]
) -> None:
    """Compare the readings of laws with numpy.interp of the mixture."""
    law = mixed(laws, turbulence)
    for residual in residuals:
        expected = 1 - np.interp(residual, laws.quantiles, law)
        found = probability(laws, turbulence, float(residual))
        assert found == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)
    expected = np.interp(LEVELS_READ, law, laws.quantiles).tolist()
    assert bounds(laws, turbulence) == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)


def test_a_law_of_residuals_is_the_empirical_one() -> None:
    """Bounds and probabilities are those of the residuals that the law was made from."""
    laws = normal_laws()[0]
    low, median, high = bounds(laws, 0.5)
    assert (low, median, high) == pytest.approx((-0.3 - 1.645, -0.3, -0.3 + 1.645), abs=0.05)
    assert probability(laws, 0.5, -0.3) == pytest.approx(0.5, abs=0.01)
    assert probability(laws, 0.5, -99.0) == 1.0
    assert probability(laws, 0.5, 99.0) == 0.0


@given(
    st.lists(
        st.tuples(st.floats(1e-3, 1), st.floats(1e-3, 1)),
        min_size=len(LEVELS) - 1,
        max_size=len(LEVELS) - 1,
    ),
    st.floats(0, 1),
    st.one_of(st.floats(-20, 20), st.integers(0, len(LEVELS) - 1)),
)
def test_laws_are_read_as_interpolated(
    masses: list[tuple[float, float]], turbulence: float, residual: float
) -> None:
    """Readings are those of numpy.interp, whatever the laws add up to and at the quantiles too."""
    quantiles = np.linspace(-2, 3, len(LEVELS))
    value = quantiles[residual] if isinstance(residual, int) else residual
    cumulated = np.zeros((2, len(LEVELS)))
    np.cumsum(np.array(masses).T, axis=1, out=cumulated[:, 1:])
    assert_read_as_interpolated(ResidualLaws(quantiles, cumulated), turbulence, [value])


def test_invalid_laws_are_refused() -> None:
    """Quantiles or probabilities that do not increase raise ValueError."""
    good = normal_laws()[0]
    with pytest.raises(ValueError, match="rising"):
        ResidualLaws(good.quantiles[::-1], good.cumulated)
    with pytest.raises(ValueError, match=r"^probabilities of a residual law must rise$"):
        ResidualLaws(good.quantiles, good.cumulated[:, ::-1])


def test_laws_without_probability_are_refused() -> None:
    """Each law is divided by what it adds up to."""
    good = normal_laws()[0]
    with pytest.raises(ValueError, match=r"^probabilities of a residual law are all 0$"):
        ResidualLaws(good.quantiles, good.cumulated * [[0.0], [1.0]])
    with pytest.raises(ValueError, match=r"^probabilities of a residual law are all 0$"):
        ResidualLaws(good.quantiles, np.full_like(good.cumulated, 0.5))


def test_turbulence_weight() -> None:
    """The weight rises from 0 far below the threshold to 1 at the threshold."""
    logs = [-9.0, -2.0, -1.0, 0.0, 3.0]
    assert [turbulence_weight(log, 0.0) for log in logs] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert LEVELS[0] == 0.0
    assert LEVELS[-1] == 1.0


def test_turbulence_weight_of_an_unknown_number() -> None:
    """It is not known either, neither calm nor turbulent."""
    assert math.isnan(turbulence_weight(math.nan, 0.0))
    assert math.isnan(turbulence_weight(0.0, math.nan))


def law_between(low: float, high: float) -> ResidualLaws:
    """Return equal laws of calm and of turbulence with the probabilities from `low` to `high`."""
    quantiles = np.linspace(-2.4, 2.4, len(LEVELS)) + 0.01 * (np.arange(len(LEVELS)) % 3)
    line = np.linspace(low, high, len(LEVELS))
    return ResidualLaws(quantiles, np.array([line, line]))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.1, 0.9), (0.02, 0.97), (0.0, 31.0)])
def test_laws_are_read_up_to_their_ends(low: float, high: float) -> None:
    """In, at and beyond the outermost bins too, also of a law that leaves out some probability."""
    laws = law_between(low, high)
    edges = laws.quantiles
    middles = (edges[1:] + edges[:-1]) / 2
    residuals = (*edges, *middles, edges[0] - 1, edges[-1] + 1)
    assert_read_as_interpolated(laws, 0.3, residuals)
    assert probability(laws, 0.3, -99.0) == pytest.approx(1 - low / high, rel=TOLERANCE)
    assert probability(laws, 0.3, 99.0) == 0.0


@pytest.mark.parametrize("level", LEVELS_READ)
@pytest.mark.parametrize("first", [0, 1, 20, len(LEVELS) - 4])
def test_a_bound_in_empty_bins_is_their_upper_end(level: float, first: int) -> None:
    """A probability that some neighbouring quantiles share gives the last of them."""
    rest = np.linspace(level, 1, len(LEVELS) - first - 2)[1:]
    line = np.concatenate((np.linspace(0, level, first + 1)[:-1], [level] * 3, rest))
    laws = ResidualLaws(np.linspace(-3, 2, len(LEVELS)), np.array([line, line]))
    assert quantile(laws.quantiles, line, line, 0.7, level) == laws.quantiles[first + 2]


def pooled(residuals: list[float], turbulence: list[float]) -> list[list[float]]:
    """Return the probabilities of both laws by counting, with a tenth of the pooled law in each."""
    inner = np.quantile(residuals, LEVELS[1:-1])
    edges = [inner[0] - 1.5, *inner, inner[-1] + 1.5]
    laws = []
    for weights in ([1 - t for t in turbulence], turbulence):
        masses = [(b - a) / 10 for a, b in pairwise(LEVELS)]
        total = max(sum(weights), 1e-9)
        for residual, weight in zip(residuals, weights, strict=True):
            # Equal quantiles are spread upwards by 1e-9 each: a bin holds its upper end.
            below = [k for k, edge in enumerate(edges) if edge + k * 1e-9 < residual]
            masses[min(max(len(below) - 1, 0), len(masses) - 1)] += weight / total
        laws.append([sum(masses[:k]) / sum(masses) for k in range(len(masses) + 1)])
    return laws


@pytest.mark.parametrize("turbulence", [None, 0.0, 1.0, 1e-3])
def test_laws_of_residuals_by_counting(turbulence: float | None) -> None:
    """Both laws hold the weighted shares of residuals in each bin, outermost ones included."""
    rng = np.random.default_rng(3)
    residuals = np.concatenate((rng.normal(0, 1, 150), [-9.0, 9.0, -3.5, 3.5, 0.25, 0.25, 0.25]))
    weights = rng.uniform(0, 1, len(residuals))
    if turbulence is not None:
        weights[:] = turbulence
    laws = ResidualLaws.of_residuals(residuals, weights)
    inner = np.quantile(residuals, LEVELS[1:-1])
    edges = [inner[0] - 1.5, *inner, inner[-1] + 1.5]
    np.testing.assert_allclose(laws.quantiles, edges, atol=1e-7)
    expected = pooled(residuals.tolist(), weights.tolist())
    np.testing.assert_allclose(laws.cumulated, expected, atol=1e-9)


def test_equal_residuals_make_a_law() -> None:
    """Outcomes that are all at the floor still have rising quantiles, and one bin holds them."""
    laws = ResidualLaws.of_residuals(np.full(50, -2.0), np.full(50, 0.5))
    assert (np.diff(laws.quantiles) > 0).all()
    # All but what a tenth of the pooled law adds to the other bins.
    assert (laws.cumulated[:, 1] > 1 / 1.1).all()
    assert bounds(laws, 0.5) == pytest.approx([-2.0, -2.0, -2.0], abs=1.5)


def test_each_residual_has_a_bin() -> None:
    """The bin is the one whose upper end is the first not below it; ends take what is outside."""
    edges, last = law_between(0.0, 1.0).quantiles, len(LEVELS) - 2
    for index in range(last + 1):
        middle = (edges[index] + edges[index + 1]) / 2
        assert bin_of(edges, middle) == bin_of(edges, edges[index + 1]) == index
    assert [bin_of(edges, edges[0] - 1), bin_of(edges, edges[-1] + 1)] == [0, last]


def test_equal_quantiles_are_refused() -> None:
    """A bin without width would have no slope."""
    good = law_between(0.0, 1.0)
    flat = good.quantiles.copy()
    flat[5] = flat[4]
    with pytest.raises(ValueError, match="rising"):
        ResidualLaws(flat, good.cumulated)


def test_turbulence_is_a_distance_from_the_threshold() -> None:
    """Forecast and threshold shifted alike give the same weight."""
    weights = turbulence_weights(np.array([-13.0, -14.0, -12.0]), np.array([-12.5, -12.0, -12.0]))
    assert weights.tolist() == [0.75, 0.0, 1.0]
    square = np.array([[-13.0], [-14.0]])
    assert turbulence_weights(square, np.full((2, 1), -12.5)).tolist() == [[0.75], [0.25]]
