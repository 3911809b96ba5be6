"""Residual laws: bounds, probabilities, and the weights of the two laws."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.laws import normal_laws
from volsvc.features import LEVELS, ResidualLaws, turbulence_weight


def test_a_law_of_residuals_is_the_empirical_one() -> None:
    """Bounds and probabilities are those of the residuals that the law was made from."""
    law = normal_laws()[0].mixed(0.5)
    low, median, high = law.bounds()
    assert (low, median, high) == pytest.approx((-0.3 - 1.645, -0.3, -0.3 + 1.645), abs=0.05)
    assert float(law.above(-0.3)) == pytest.approx(0.5, abs=0.01)
    assert float(law.above(-99.0)) == 1.0
    assert float(law.above(99.0)) == 0.0


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=len(LEVELS) - 1),
    st.floats(0, 1),
    st.one_of(st.floats(-20, 20), st.integers(0, len(LEVELS) - 1)),
)
def test_a_reading_equals_the_mixed_law(
    masses: list[tuple[float, float]], turbulence: float, residual: float
) -> None:
    """They are equal to the last bit, also in empty bins and at the quantiles."""
    quantiles = np.linspace(-2, 3, len(LEVELS))
    value = quantiles[residual] if isinstance(residual, int) else residual
    cumulated = np.zeros((2, len(LEVELS)))
    np.cumsum(np.array(masses[: len(LEVELS) - 1]).T, axis=1, out=cumulated[:, 1:])
    own = ResidualLaws(quantiles, cumulated / np.maximum(cumulated[:, -1:], 1e-300))
    reading, mixed = own.reading(turbulence), own.mixed(turbulence)
    assert reading.bounds() == mixed.bounds()
    assert reading.above(float(value)) == float(mixed.above(value))


def test_invalid_laws_are_refused() -> None:
    """Quantiles or probabilities that do not increase raise ValueError."""
    good = normal_laws()[0]
    with pytest.raises(ValueError, match="rising"):
        ResidualLaws(good.quantiles[::-1], good.cumulated)
    with pytest.raises(ValueError, match=r"^probabilities of a residual law must rise$"):
        ResidualLaws(good.quantiles, good.cumulated[:, ::-1])


def test_turbulence_weight() -> None:
    """The weight rises from 0 far below the threshold to 1 at the threshold."""
    limits = np.zeros(5)
    weights = turbulence_weight(np.array([-9.0, -2.0, -1.0, 0.0, 3.0]), limits)
    assert weights.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert LEVELS[0] == 0.0
    assert LEVELS[-1] == 1.0


def law_between(low: float, high: float) -> ResidualLaws:
    """Return equal laws of calm and of turbulence with the probabilities from `low` to `high`."""
    quantiles = np.linspace(-2.4, 2.4, len(LEVELS)) + 0.01 * (np.arange(len(LEVELS)) % 3)
    line = np.linspace(low, high, len(LEVELS))
    return ResidualLaws(quantiles, np.array([line, line]))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.1, 0.9), (0.02, 0.97)])
def test_a_reading_equals_the_mixed_law_up_to_its_ends(low: float, high: float) -> None:
    """In, at and beyond the outermost bins too, also of a law that leaves out some probability."""
    laws = law_between(low, high)
    reading, mixed = laws.reading(0.3), laws.mixed(0.3)
    edges = laws.quantiles
    middles = (edges[1:] + edges[:-1]) / 2
    for residual in (*edges, *middles, edges[0] - 1, edges[-1] + 1):
        assert reading.above(float(residual)) == float(mixed.above(residual))
    assert reading.bounds() == mixed.bounds()
    assert reading.above(-99.0) == 1 - low
    assert reading.above(99.0) == 1 - high


@pytest.mark.parametrize("level", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("first", [0, 1, 20, len(LEVELS) - 4])
def test_a_bound_in_empty_bins_is_their_upper_end(level: float, first: int) -> None:
    """A probability that some neighbouring quantiles share gives the same bound both ways."""
    line = np.concatenate(
        (np.linspace(0, level, first + 1)[:-1], [level] * 3, np.linspace(level, 1, 50)[1:])
    )[: len(LEVELS)]
    laws = ResidualLaws(np.linspace(-3, 2, len(LEVELS)), np.array([line, line]))
    assert laws.reading(0.7).bounds() == laws.mixed(0.7).bounds()


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
    low, median, high = laws.mixed(0.5).bounds()
    assert (low, median, high) == pytest.approx((-2.0, -2.0, -2.0), abs=1.5)


def test_each_residual_has_a_bin() -> None:
    """The bin is the one whose upper end is the first not below it; ends take what is outside."""
    laws = law_between(0.0, 1.0)
    edges, last = laws.quantiles, len(LEVELS) - 2
    for index in range(last + 1):
        middle = (edges[index] + edges[index + 1]) / 2
        assert laws.bin(float(middle)) == laws.bin(float(edges[index + 1])) == index
    assert [laws.bin(float(edges[0] - 1)), laws.bin(float(edges[-1] + 1))] == [0, last]


def test_equal_quantiles_are_refused() -> None:
    """A bin without width would have no slope."""
    good = law_between(0.0, 1.0)
    flat = good.quantiles.copy()
    flat[5] = flat[4]
    with pytest.raises(ValueError, match="rising"):
        ResidualLaws(flat, good.cumulated)


def test_turbulence_is_a_distance_from_the_threshold() -> None:
    """Forecast and threshold shifted alike give the same weight."""
    weights = turbulence_weight(np.array([-13.0, -14.0, -12.0]), np.array([-12.5, -12.0, -12.0]))
    assert weights.tolist() == [0.75, 0.0, 1.0]
