"""Forecasts at any horizon from the variances, laws and thresholds of the fitted ones."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from tests.unit.models.fixed import FixedModel, row_of
from volsvc.domain import COVERAGE
from volsvc.features import SCALE_NAMES
from volsvc.features.residual_laws import LEVELS
from volsvc.models import FEATURES, HORIZONS_S, Baseline, Model, ModelError, packaged
from volsvc.models.base import Array, matrix_of_scales, normal_laws
from volsvc.models.columns import FLOOR_RATE, MAX_RATE, PRIOR_LEVEL_RATE

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
        alone = model.predict(POSTED, horizon)
        assert alone.sigma2.tolist() == pytest.approx([bound], rel=1e-12)


def test_variances_that_are_not_finite_are_refused_by_name() -> None:
    """The error names the model."""
    with pytest.raises(ModelError, match="ml-7 gives numbers that are not finite"):
        FixedModel((math.nan,) * 4).variances(LIVE, (60.0,))
    with pytest.raises(ModelError, match="ml-7 gives numbers that are not finite"):
        FixedModel((1e-8, math.nan)).predict(LIVE, 300.0)


def test_models_that_give_too_few_variances_are_refused() -> None:
    """A row is not forecast from the horizons that are there."""
    for call in (
        FixedModel(HEADS[:2]).predict,
        lambda rows, h: FixedModel(()).variances(rows, [h]),
    ):
        with pytest.raises(ModelError, match=r"ml-7 gives variances of \(1, [02]\)"):
            call(POSTED, 900.0)


def test_matrices_of_another_shape_are_refused() -> None:
    """Kernels check no index, so that columns, thresholds and rows have to fit."""
    for features in (LIVE[:, 1:], LIVE[0]):
        for model in (FixedModel(HEADS), Baseline(), packaged().model):
            with pytest.raises(ValueError, match="features have the shape"):
                model.predict(features, 60.0)
            with pytest.raises(ValueError, match="features have the shape"):
                model.variances(features, (60.0,))
            with pytest.raises(ValueError, match="features have the shape"):
                model.log_threshold(features, 60.0)
    for thresholds in (np.ones(2), np.ones((3, 1))):
        with pytest.raises(ValueError, match="thresholds have the shape"):
            FixedModel(HEADS).predict(np.repeat(LIVE, 3, axis=0), 60.0, thresholds)


def test_matrices_in_any_order_of_memory() -> None:
    """Columns side by side, every other row and whole numbers are read as they are meant."""
    model, rows = packaged().model, np.repeat(np.concatenate([LIVE, POSTED]), 3, axis=0)
    expected = model.variances(rows, HORIZONS_S)
    assert (model.variances(np.asfortranarray(rows), HORIZONS_S) == expected).all()
    assert (model.variances(rows[::2], HORIZONS_S) == expected[::2]).all()
    whole = np.round(rows[:3])
    whole[:] = 1.0
    found = model.variances(whole.astype(np.int64), HORIZONS_S)
    assert (found == model.variances(whole, HORIZONS_S)).all()


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


def law_of(model: Model, live: bool, horizon_s: float, turbulence: float) -> tuple[Array, Array]:
    """Return quantiles and probabilities of the law between those of the first two horizons."""
    first, second = (model.laws if live else model.coarse_laws)[:2]
    weight = math.log(horizon_s / 60) / math.log(5)
    calm, turbulent = (1 - weight) * first.cumulated + weight * second.cumulated
    quantiles = (1 - weight) * first.quantiles + weight * second.quantiles
    return quantiles, (1 - turbulence) * calm + turbulence * turbulent


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
        quantiles, law = law_of(model, live, horizon, weight)
        asked = limit if threshold is None else 2 * math.log(threshold)
        above = 1 - np.interp(asked - log_variance, quantiles, law)
        assert forecast.threshold[index] == pytest.approx(math.exp(asked / 2), rel=1e-12)
        assert forecast.p_spike[index] == pytest.approx(above, abs=1e-12)
        low, high = np.interp([(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], law, quantiles)
        assert forecast.lo[index] == pytest.approx(math.exp((log_variance + low) / 2), rel=1e-12)
        assert forecast.hi[index] == pytest.approx(math.exp((log_variance + high) / 2), rel=1e-12)
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
    levels = [(1 - COVERAGE) / 2, 0.5, (1 + COVERAGE) / 2]
    low, middle, high = np.interp(levels, law.cumulated[0], law.quantiles)
    assert middle == pytest.approx(-0.25)
    assert normal.cdf(high) - normal.cdf(low) == pytest.approx(COVERAGE, abs=1e-3)


@pytest.mark.parametrize(("horizon_s", "heads"), [(6.0, 1), (60.0, 1), (100.0, 2), (900.0, 3)])
def test_heads_beyond_the_horizon_are_not_asked(horizon_s: float, heads: int) -> None:
    """The trees of each further head cost as much again."""
    asked: list[int] = []

    class Asked(FixedModel):
        def head_variances(self, features: Array, count: int) -> Array:
            asked.append(count)
            return super().head_variances(features, count)

    Asked(HEADS).predict(LIVE, horizon_s)
    Asked(HEADS).variances(LIVE, (6.0, horizon_s))
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
