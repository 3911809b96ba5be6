"""Forecasts at any horizon from the variances, laws and thresholds of the fitted ones."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from tests.unit.models.fixed import FixedModel, row_of
from volsvc.domain import COVERAGE
from volsvc.features import SCALE_NAMES
from volsvc.features.residual_laws import LEVELS, ResidualLaw
from volsvc.models import FEATURES, HORIZONS_S, Baseline, Model, ModelError, forecast_window
from volsvc.models.base import (
    FLOOR_RATE,
    MAX_RATE,
    PRIOR_LEVEL_RATE,
    TURBULENCE_GRID,
    Array,
    matrix_of_scales,
    normal_laws,
)

HEADS = (4e-8, 6e-7, 1e-6, 8e-6)
POSTED = row_of((0.0, 1e-4, 9.0, 60.0))
LIVE = row_of((), {"level": 3e-9})


def between(values: tuple[float, ...], horizon_s: float) -> float:
    """Return the value at a horizon between the first and the second, linear in ln horizon."""
    weight = math.log(horizon_s / 60) / math.log(5)
    return (1 - weight) * values[0] + weight * values[1]


def test_variances_between_and_beyond_the_fitted_horizons() -> None:
    """Between them ln variance is linear in ln horizon, beyond them the rate is constant."""
    model = FixedModel(HEADS)
    found = model.variances(LIVE, (6.0, 60.0, 100.0, 300.0, 900.0, 3600.0, 86_400.0))[0]
    middle = math.exp(between(tuple(map(math.log, HEADS)), 100.0))
    expected = [HEADS[0] / 10, HEADS[0], middle, *HEADS[1:], HEADS[3] * 24]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert model.variances(LIVE, (100.0,))[0].tolist() == pytest.approx([middle], rel=1e-12)


def test_variances_are_bounded_and_rise() -> None:
    """No head is below the floor, above the bound or below a shorter one."""
    model = FixedModel((0.0, 2e-5, 1e-5, 1e9))
    bounds = [FLOOR_RATE * 60, 2e-5, 2e-5, MAX_RATE * 3600]
    assert model.variances(LIVE, HORIZONS_S)[0].tolist() == pytest.approx(bounds, rel=1e-12)
    for horizon, bound in zip(HORIZONS_S, bounds, strict=True):
        alone = forecast_window(model, (0.0, 1e-4, 9.0, 60.0), horizon)
        assert alone.sigma2 == pytest.approx(bound, rel=1e-12)


def test_variances_that_are_not_finite_are_refused_by_name() -> None:
    """The error names the model."""
    with pytest.raises(ModelError, match="ml-7 gives numbers that are not finite"):
        FixedModel((math.nan,) * 4).variances(LIVE, (60.0,))


def test_models_that_give_too_few_variances_are_refused() -> None:
    """A window is not forecast from the horizons that are there."""
    with pytest.raises(ValueError, match="shorter"):
        forecast_window(FixedModel(HEADS[:2]), (0.0, 1e-4, 9.0, 60.0), 900.0)


@pytest.mark.parametrize(("row", "level"), [(LIVE, 3e-9), (POSTED, PRIOR_LEVEL_RATE)])
def test_thresholds_are_relative_to_the_level(row: Array, level: float) -> None:
    """The ratio of a horizon between two fitted ones lies between theirs."""
    model = FixedModel(HEADS)
    for horizon, ratio in ((6.0, 0.5), (300.0, 0.75), (100.0, between((0.5, 0.75), 100.0))):
        limit = model.log_threshold(row, horizon)
        assert limit.tolist() == pytest.approx([math.log(level * horizon) + ratio], rel=1e-12)
    for value, bound in ((0.0, FLOOR_RATE), (9.0, MAX_RATE)):
        limit = model.log_threshold(row_of((), {"level": value}), 60.0)
        assert limit.tolist() == pytest.approx([math.log(bound * 60) + 0.5], rel=1e-12)


def law_of(model: Model, live: bool, horizon_s: float, turbulence: float) -> ResidualLaw:
    """Return the law between those of the first two horizons."""
    first, second = (model.laws if live else model.coarse_laws)[:2]
    weight = math.log(horizon_s / 60) / math.log(5)
    calm, turbulent = (1 - weight) * first.cumulated + weight * second.cumulated
    quantiles = (1 - weight) * first.quantiles + weight * second.quantiles
    return ResidualLaw(quantiles, (1 - turbulence) * calm + turbulence * turbulent)


@pytest.mark.parametrize("turbulence", [0.0, 0.34, 0.5, 1.0])
@pytest.mark.parametrize("threshold", [None, 3e-4])
def test_intervals_and_probabilities_follow_the_laws(
    turbulence: float, threshold: float | None
) -> None:
    """They are those of the laws between the horizons, for the turbulence of each row."""
    horizon, usual = 100.0, FixedModel(HEADS).log_threshold(LIVE, 100.0)[0]
    # The weight rises to 1 over the last 2 below the threshold.
    log_variance = usual + 2 * (turbulence - 1)
    ratio = math.exp(log_variance - between(tuple(map(math.log, HEADS)), horizon))
    model = FixedModel([head * ratio for head in HEADS])
    matrix = np.concatenate([LIVE, row_of((0.0, 1e-4, 9.0, 60.0))])
    forecast = model.predict(matrix, horizon, threshold)
    assert forecast.horizon_s == horizon
    for index, live in enumerate((True, False)):
        limit = model.log_threshold(matrix, horizon)[index]
        weight = min(max((log_variance - limit) / 2 + 1, 0.0), 1.0)
        law = law_of(model, live, horizon, weight)
        asked = limit if threshold is None else 2 * math.log(threshold)
        assert forecast.threshold[index] == pytest.approx(math.exp(asked / 2), rel=1e-12)
        assert forecast.p_spike[index] == pytest.approx(law.above(asked - log_variance), abs=1e-12)
        # Bounds are tabulated at eleven weights, and linear between them.
        bounds = np.array([law_of(model, live, horizon, w).bounds() for w in TURBULENCE_GRID])
        low, _, high = (np.interp(weight, TURBULENCE_GRID, column) for column in bounds.T)
        assert forecast.lo[index] == pytest.approx(math.exp((log_variance + low) / 2))
        assert forecast.hi[index] == pytest.approx(math.exp((log_variance + high) / 2))
        alone = model.predict(matrix[index : index + 1], horizon, threshold)
        assert alone.p_spike[0] == forecast.p_spike[index]
        assert (alone.lo[0], alone.hi[0]) == (forecast.lo[index], forecast.hi[index])


def test_thresholds_of_rows() -> None:
    """Each row may have a threshold of its own, or none; whole numbers do as well."""
    model = FixedModel(HEADS)
    rows = np.concatenate([LIVE, LIVE])
    usual = model.predict(LIVE, 60.0)
    mixed = model.predict(rows, 60.0, np.array([np.nan, 1.0]))
    assert mixed.threshold.tolist() == [usual.threshold[0], 1.0]
    assert mixed.p_spike[0] == usual.p_spike[0] > mixed.p_spike[1]
    assert model.predict(rows, 60.0, 1).threshold.tolist() == [1.0, 1.0]


def test_normal_laws() -> None:
    """Between the outermost levels the law is normal; beyond them it ends after one deviation."""
    normal = NormalDist(-0.25, 0.5)
    (law,) = normal_laws([(-0.25, 0.5)])
    inner = [normal.inv_cdf(level) for level in LEVELS[1:-1]]
    assert law.quantiles.tolist() == pytest.approx([inner[0] - 0.5, *inner, inner[-1] + 0.5])
    assert (law.cumulated == LEVELS).all()
    low, middle, high = law.mixed(0.5).bounds()
    assert middle == pytest.approx(-0.25)
    assert normal.cdf(high) - normal.cdf(low) == pytest.approx(COVERAGE, abs=1e-3)


def test_a_row_of_a_window_alone() -> None:
    """By default the heads get one row that holds the window, and NaN for the rest."""
    seen: list[Array] = []

    class Seeing(FixedModel):
        def head_variances(self, features: Array, count: int) -> Array:
            seen.append(features)
            return super().head_variances(features, count)

    window = (1e-6, 2e-5, 9.0, 60.0)
    assert Seeing(HEADS).window_variances(window, 2) == list(HEADS[:2])
    np.testing.assert_array_equal(seen, [row_of(window)])
    assert seen[0].dtype == np.float64


@pytest.mark.parametrize(("horizon_s", "heads"), [(6.0, 1), (60.0, 1), (100.0, 2), (900.0, 3)])
def test_heads_beyond_the_horizon_are_not_asked(horizon_s: float, heads: int) -> None:
    """The trees of each further head cost as much again."""
    asked: list[int] = []

    class Asked(FixedModel):
        def head_variances(self, features: Array, count: int) -> Array:
            asked.append(count)
            return super().head_variances(features, count)

    Asked(HEADS).predict(LIVE, horizon_s)
    forecast_window(Asked(HEADS), (0.0, 1e-4, 9.0, 60.0), horizon_s)
    assert asked == [heads, heads]


def test_rows_of_scales_have_no_window() -> None:
    """The matrix of multi-scale features has NaN in the columns of the window."""
    scales = np.arange(2.0 * len(SCALE_NAMES)).reshape(2, -1)
    matrix = matrix_of_scales(scales)
    assert matrix.dtype == np.float64
    assert np.isnan(matrix[:, : len(FEATURES) - len(SCALE_NAMES)]).all()
    assert (matrix[:, -len(SCALE_NAMES) :] == scales).all()


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        ("FEATURES", FEATURES[::-1]),
        ("HALF_LIVES", ("variance_10m",) * 4),
        ("SPIKE_RATIO", 2.5),
        ("BAR_RESIDUALS", ((0.0, 1.0),) * 4),
        ("TICK_RESIDUALS", ((0.0, 1.0),) * 4),
    ],
)
def test_the_baseline_of_other_constants_is_another(
    constant: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learnt residuals belong to a digest, so another constant gives another one."""
    digest = Baseline().digest
    assert Baseline().digest == digest
    monkeypatch.setattr(f"volsvc.models.baseline.{constant}", value)
    assert Baseline().digest != digest
