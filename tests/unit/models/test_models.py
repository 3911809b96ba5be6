"""The contract of every model, and the swap of the serving model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from volsvc.domain import COVERAGE
from volsvc.features import SCALE_NAMES
from volsvc.models import FEATURES, Baseline, Model, packaged
from volsvc.models.kernels.trees import BLOCK_ROWS_FROM
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import DesiredModel

MODELS: tuple[Model, ...] = (Baseline(), packaged().model)
N_SCALES = len(SCALE_NAMES)
SEASONS = slice(FEATURES.index("season_60s"), FEATURES.index("season_3600s") + 1)
HORIZONS = (1.0, 60.0, 300.0, 900.0, 3600.0, 86_400.0)
known = st.floats(0, 1e3)
maybe = st.just(math.nan) | known
windows = st.tuples(st.floats(-10, 10), known, st.integers(1, 10**9), maybe)
relative = st.floats(-30, 30)
# The level and the other scales; None stands for a row without the state of a symbol.
live = st.tuples(
    st.floats(1e-14, 1e-2), st.lists(relative, min_size=N_SCALES - 1, max_size=N_SCALES - 1)
)
rows = st.lists(st.tuples(windows, st.none() | live), min_size=1, max_size=8)
Rows = list[tuple[tuple[float, ...], tuple[float, list[float]] | None]]


def matrix_of(rows: Rows) -> NDArray[np.float64]:
    """Return the feature matrix of rows."""
    matrix = np.full((len(rows), len(FEATURES)), math.nan)
    for index, (window, state) in enumerate(rows):
        matrix[index, : len(window)] = window
        if state is not None:
            matrix[index, len(window) :] = [state[0], *state[1]]
            matrix[index, SEASONS] = np.abs(matrix[index, SEASONS]) + 0.05
    return matrix


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.variant)
class TestModelContract:
    """Requirements of every model."""

    def test_names(self, model: Model) -> None:
        """A model has a variant, a version, a digest and the schema."""
        assert model.variant in ("baseline", "ml")
        assert model.version
        assert len(model.digest) == 64
        assert model.schema == FEATURES

    @pytest.mark.parametrize("horizon", HORIZONS)
    def test_no_row(self, model: Model, horizon: float) -> None:
        """A matrix without rows has forecasts without rows."""
        for thresholds in (None, np.empty(0)):
            forecast = model.predict(matrix_of([]), horizon, thresholds)
            for name in ("sigma2", "p_spike", "lo", "hi", "threshold"):
                assert getattr(forecast, name).shape == (0,), name

    @given(rows=rows, horizon=st.sampled_from(HORIZONS), given_threshold=st.booleans())
    def test_any_row(self, model: Model, rows: Rows, horizon: float, given_threshold: bool) -> None:
        """Forecasts of any rows are finite, positive, ordered, and of the shape of the rows."""
        threshold = 1e-3 if given_threshold else None
        forecast = model.predict(matrix_of(rows), horizon, threshold)
        for values in (forecast.sigma2, forecast.lo, forecast.hi, forecast.threshold):
            assert values.shape == (len(rows),)
            assert np.isfinite(values).all()
            assert (values > 0).all()
        assert (forecast.lo < forecast.hi).all()
        assert ((forecast.p_spike >= 0) & (forecast.p_spike <= 1)).all()
        if threshold:
            assert (forecast.threshold == threshold).all()

    @given(rows=rows)
    def test_rows_are_independent(self, model: Model, rows: Rows) -> None:
        """A row's forecast is the same alone, among few or many rows, and the second time."""
        matrix = matrix_of(rows)
        together = model.predict(matrix, 60.0)
        assert (model.predict(matrix, 60.0).sigma2 == together.sigma2).all()
        many = model.predict(np.tile(matrix, (BLOCK_ROWS_FROM, 1)), 60.0)
        for name in ("sigma2", "p_spike", "lo", "hi", "threshold"):
            expected = getattr(together, name)
            assert (getattr(many, name).reshape(-1, len(rows)) == expected).all()
            for index in range(len(rows)):
                alone = model.predict(matrix[index : index + 1], 60.0)
                assert getattr(alone, name)[0] == expected[index]

    def test_forecasts_rise_with_volatility(self, model: Model) -> None:
        """Forecast and score rise with ret_std."""
        stds = np.geomspace(1e-6, 1e-2, 50)
        matrix = np.full((50, len(FEATURES)), math.nan)
        matrix[:, 0], matrix[:, 1], matrix[:, 2] = 0.0, stds, 49
        forecast = model.predict(matrix, 60.0)
        assert (np.diff(forecast.sigma2) >= 0).all()
        assert (np.diff(forecast.p_spike) >= 0).all()
        assert forecast.p_spike[0] < 0.2
        assert forecast.p_spike[-1] > 0.9


def test_baseline_interval_has_its_coverage() -> None:
    """The probability between lo and hi is COVERAGE, by the same lognormal distribution."""
    matrix = matrix_of([((0.0, 3e-5, 49, 10.0), None)])
    forecast = Baseline().predict(matrix, 60.0)
    low = Baseline().predict(matrix, 60.0, float(forecast.lo[0])).p_spike[0]
    high = Baseline().predict(matrix, 60.0, float(forecast.hi[0])).p_spike[0]
    assert low - high == pytest.approx(COVERAGE)


def test_swap_replaces_one_reference() -> None:
    """A request that holds the old reference keeps it; the next one sees the new."""
    holder = ModelHolder(DesiredModel("ml", None, load_error="none is there"))
    first = holder.current
    second = holder.apply(replace(holder.desired, variant="baseline"), "route")
    assert holder.current is second
    assert first is not second
    assert (first.fallback, second.fallback) == (True, False)
    assert second.name == "baseline-2"
