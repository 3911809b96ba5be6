"""One window in plain numbers against the same row as an array."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from volsvc.models import FEATURES, Baseline, Model, ModelError, forecast_window, packaged

MODELS = {"baseline": Baseline(), "ml": packaged().model}
WINDOWS = st.tuples(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(0, allow_nan=False, allow_infinity=False),
    st.integers(1, 1_000_000_000).map(float),
    st.one_of(st.just(math.nan), st.floats(0, 31_557_600, exclude_min=True)),
)
ORDINARY = st.tuples(
    st.floats(-1e-3, 1e-3), st.floats(0, 1e-2), st.integers(1, 50).map(float), st.floats(1, 1e4)
)
HORIZONS = st.one_of(st.sampled_from((60.0, 300.0, 900.0, 3600.0)), st.floats(1, 86_400))
THRESHOLDS = st.one_of(st.just(math.nan), st.floats(1e-12, 1e12))


@pytest.mark.parametrize("variant", MODELS)
@given(st.one_of(WINDOWS, ORDINARY), HORIZONS, THRESHOLDS)
@example((0.0, 3e-5, 49.0, 10.0), 60.0, math.nan)
@example((0.0, 0.0, 1.0, math.nan), 3600.0, 1e-4)
def test_the_same_to_the_last_bit(
    variant: str, window: tuple[float, float, float, float], horizon_s: float, threshold: float
) -> None:
    """Every number, whatever is posted."""
    model = MODELS[variant]
    row = np.full((1, len(FEATURES)), np.nan)
    row[0, :4] = window
    with np.errstate(all="ignore"):
        whole = model.predict(row, horizon_s, np.array([threshold]))
    alone = forecast_window(model, window, horizon_s, threshold)
    columns = (whole.sigma2, whole.p_spike, whole.lo, whole.hi, whole.threshold)
    assert alone == tuple(column[0] for column in columns)


class Wordless(Model):
    """A model that knows nothing of windows, and gives NaN for them."""

    variant, version, digest = "ml", "7", "0"
    laws = coarse_laws = MODELS["baseline"].laws
    spike_log_ratios = MODELS["baseline"].spike_log_ratios

    def head_variances(self, features: np.ndarray, count: int) -> np.ndarray:
        """No variance is known."""
        return np.full((len(features), count), np.nan)


def test_what_is_not_finite_is_refused() -> None:
    """As it is of an array; a model without a quicker way of its own is asked for its heads."""
    with pytest.raises(ModelError, match="not finite"):
        forecast_window(Wordless(), (0.0, 1e-5, 9.0, 9.0), 60.0)
