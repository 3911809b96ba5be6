"""Forecasts before a full minute was watched, and just after it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.features.one_symbol import OneSymbol
from tests.unit.features.ticks import tick
from tests.variations import FORECAST
from volsvc.domain import PointForecast
from volsvc.features import SCALE_NAMES
from volsvc.features.kernels.points import SCALES_FROM
from volsvc.models import HORIZONS_S, Baseline, Model, SymbolForecasts, packaged
from volsvc.models.kernels.cold import PRIOR_RATE, evidence_weight, shrunk, widened

MODELS = [packaged().model, Baseline()]
rates = st.floats(1e-13, 1e-3)


def newest(one: OneSymbol, model: Model) -> PointForecast:
    """Return the forecasts at the newest tick."""
    points = one.table.newest(one.table.rows)
    forecasts = SymbolForecasts(one.table, model, points, HORIZONS_S)
    forecasts.settle_all()
    return forecasts.point_forecast(0, 60.0)


def sigmas(one: OneSymbol, model: Model) -> list[float]:
    """Return the volatility per sqrt(second) at the newest tick, at each horizon."""
    found = newest(one, model).predictions
    return [prediction.sigma / math.sqrt(prediction.horizon_s) for prediction in found]


def seen(prices: Sequence[tuple[float, float]]) -> OneSymbol:
    """Return a symbol after ticks, given as seconds and prices without quotes."""
    one = OneSymbol()
    for seconds, price in prices:
        one.apply(tick(seconds, price))
    return one


@given(st.floats(0, 2), st.floats(0, 2))
def test_evidence_gains_weight_until_the_minute_is_over(first: float, second: float) -> None:
    """Its weight rises with the time watched, from 0 up to the first grid step to 1."""
    low, high = (evidence_weight(math.log1p(minutes)) for minutes in sorted((first, second)))
    assert 0 <= low <= high <= 1
    assert (low == 0) <= (min(first, second) <= 5 / 60 + 1e-9)
    assert low == 1 or min(first, second) < 1


def test_evidence_has_known_weights() -> None:
    """A symbol without ticks has none, a full minute all, whatever the rounding of times."""
    assert evidence_weight(math.nan) == 0
    assert evidence_weight(math.log1p(5 / 60 + 0.2 * 55 / 60)) == pytest.approx(0.6)
    assert evidence_weight(math.log1p(1 - 1e-8)) == 1
    assert evidence_weight(math.log1p(0.999)) < 1


@given(rates, st.floats(0, 1))
def test_a_shrunk_rate_lies_between_prior_and_evidence(rate: float, weight: float) -> None:
    """It is exactly one of them at either end, even if the evidence is not known."""
    low, high = sorted((rate, PRIOR_RATE))
    assert low * (1 - 1e-9) <= shrunk(rate, weight) <= high * (1 + 1e-9)
    assert shrunk(rate, 1.0) == rate
    assert shrunk(math.nan, 0.0) == PRIOR_RATE


@given(st.floats(1, 2), st.floats(0, 1), st.floats(0.1, 10))
def test_an_interval_is_never_narrowed(widening: float, weight: float, width: float) -> None:
    """The prior widens an interval by what is not known, and nothing without a prior."""
    assert widened(widening, weight, width) >= widening
    assert widened(widening, 1.0, width) == widening
    assert widened(widening, weight, 0.0) == widening


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.variant)
def test_bounce_is_not_extrapolated(model: Model) -> None:
    """Trades that bounce by 10 bp ten times a second do not move the first five seconds.

    Scaled up from tick to tick they would be a volatility of 1,800 % a year.
    """
    one = OneSymbol()
    for count in range(49):
        one.apply(tick(count / 10, 100.0 + 0.1 * (count % 2)))
        assert sigmas(one, model) == pytest.approx([math.sqrt(PRIOR_RATE)] * 4)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.variant)
def test_the_prior_is_forgotten_when_the_minute_ends(model: Model) -> None:
    """Sigma from a full minute on is the model's own, and moves there without a step."""
    rng = np.random.default_rng(5)
    prices = 100 * np.exp(np.cumsum(rng.normal(0, 2e-4, 130)))
    one, before = OneSymbol(), 0.0
    for second, price in enumerate(prices.tolist()):
        one.apply(tick(20.0 + second, price))
        (point,) = one.table.newest(one.table.rows)
        own = np.sqrt(model.variances(point.features[None], HORIZONS_S)[0])
        said = np.array([prediction.sigma for prediction in newest(one, model).predictions])
        if second >= 60:
            assert said.tolist() == own.tolist()
        elif second > 5:
            assert (said != own).all()
        if second >= 55:
            assert before == 0 or abs(math.log(said[0] / before)) < math.log(1.25)
            before = said[0]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.variant)
def test_a_restart_in_the_first_minute_changes_nothing(model: Model) -> None:
    """The prior's weight follows from what is stored, to the last bit."""
    one = seen([(40.0 + second, 100.0 + second % 7 / 100) for second in range(12)])
    for second in range(52, 110, 3):
        again = one.restored()
        assert newest(again, model) == newest(one, model)
        one.apply(tick(float(second), 100.0 + second % 11 / 100))


def test_a_cold_symbol_says_neither_features_nor_level() -> None:
    """Its features are null, its interval is wide, and a spike is not likely."""
    one = seen([(0.0, 100.0), (1.0, 101.0)])
    found = newest(one, MODELS[0]).snapshot()
    assert found.quality.verdict == "cold"
    assert set(found.features.values()) == {None}
    for prediction in found.predictions:
        assert prediction.hi / prediction.lo > 10
        assert prediction.score < 0.5


def test_features_are_named_once_they_are_known() -> None:
    """Of a symbol that is cold every feature is None; another number of values is refused."""
    found = list(FORECAST.features.items())
    assert found == list(zip(SCALE_NAMES, FORECAST.inputs[SCALES_FROM:], strict=True))
    cold = FORECAST._replace(quality=replace(FORECAST.quality, verdict="cold"))
    assert cold.features == dict.fromkeys(SCALE_NAMES)
    with pytest.raises(ValueError, match="shorter"):
        _ = FORECAST._replace(inputs=FORECAST.inputs[1:]).features
