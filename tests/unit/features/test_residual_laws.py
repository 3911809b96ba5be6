"""Residual laws: bounds, probabilities, and the weights of the two laws."""

from __future__ import annotations

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
    with pytest.raises(ValueError, match="must rise"):
        ResidualLaws(good.quantiles, good.cumulated[:, ::-1])


def test_turbulence_weight() -> None:
    """The weight rises from 0 far below the threshold to 1 at the threshold."""
    limits = np.zeros(5)
    weights = turbulence_weight(np.array([-9.0, -2.0, -1.0, 0.0, 3.0]), limits)
    assert weights.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert LEVELS[0] == 0.0
    assert LEVELS[-1] == 1.0
