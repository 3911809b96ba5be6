"""The forecast of one window in Python floats against that of the same row as an array."""

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
@example((1e-5, 3e-5, 1.0, 0.0), 60.0, math.nan)
@example((1e-5, 3e-5, 7.0, 0.0), 60.0, math.nan)
@example((1e-5, 3e-5, 1.0, math.nan), 100.0, 1e-4)
@example((1e-5, 3e-5, 2_000.0, math.nan), 2000.0, math.nan)
def test_equal_to_the_last_bit(
    variant: str, window: tuple[float, float, float, float], horizon_s: float, threshold: float
) -> None:
    """Every number equals the array's, for any window, horizon and threshold."""
    model = MODELS[variant]
    row = np.full((1, len(FEATURES)), np.nan)
    row[0, :4] = window
    with np.errstate(all="ignore"):
        whole = model.predict(row, horizon_s, np.array([threshold]))
    alone = forecast_window(model, window, horizon_s, threshold)
    columns = (whole.sigma2, whole.p_spike, whole.lo, whole.hi, whole.threshold)
    assert alone == tuple(column[0] for column in columns)


class NanModel(Model):
    """A model without `window_variances` of its own, whose variances are NaN."""

    variant, version, digest = "ml", "7", "0"
    laws = coarse_laws = MODELS["baseline"].laws
    spike_log_ratios = MODELS["baseline"].spike_log_ratios

    def head_variances(self, features: np.ndarray, count: int) -> np.ndarray:
        """Return NaN."""
        return np.full((len(features), count), np.nan)


def test_forecasts_that_are_not_finite_are_refused() -> None:
    """NaN raises as it does for arrays; by default `window_variances` calls the heads."""
    with pytest.raises(ModelError, match="not finite"):
        forecast_window(NanModel(), (0.0, 1e-5, 9.0, 9.0), 60.0)
