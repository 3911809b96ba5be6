"""The history of recent and of matured forecasts."""

from __future__ import annotations

import math

import pytest

from tests.variations import FORECAST
from volsvc.domain import NS, FeatureRow, IssuedForecast, Outcome, PointForecast, Quality
from volsvc.features.forecast_history import EVERY_S, ForecastHistory

START = 1_767_571_200 * NS
QUALITY = Quality(gaps=2, duplicates=0, late=0, fill_ratio=1.0, verdict="ok")


def forecast(at_s: float, variant: str = "ml", price: float = 100.0) -> PointForecast:
    row = FeatureRow("BTC-USD", START + round(at_s * NS), price, 0.0, 1e-5, 49, 10.0)
    numbers = ((1e-3 / 3, 1e-4, 2e-3, 1e-3, 0.2),) * 2
    inputs = (math.nan,) * len(FORECAST.inputs)
    return PointForecast(row, inputs, (60.0, 300.0), numbers, 60.0, variant, "1", QUALITY, None)


def outcome(minute: int, variant: str = "ml") -> Outcome:
    issued = IssuedForecast("BTC-USD", variant, "1", minute, 5, 1e-3, 1e-4, 2e-3, 1e-3, 0.2)
    return Outcome(issued, 1.5e-3, 0.1, covered=True, brier=0.04)


@pytest.mark.parametrize("every_s", [0.3, 1.0, 10.0, 25.0])
def test_one_forecast_a_step_of_event_time(every_s: float) -> None:
    """The first forecast of each ten seconds is kept, at any rate of forecasts."""
    history, times = ForecastHistory(1000), [every_s * k for k in range(200)]
    for at_s in times:
        history.add_forecast(forecast(at_s, price=1.0 + at_s))
    firsts: dict[int, float] = {}
    for at_s in times:
        firsts.setdefault(int(at_s) // EVERY_S, at_s)
    assert [f["price"] - 1.0 for f in history.forecasts(1000)] == pytest.approx([*firsts.values()])


def test_the_newest_are_kept_with_their_models() -> None:
    """The newest forecasts are kept, oldest first, each with the name of its model."""
    history = ForecastHistory(4)
    for step in range(10):
        variant = "baseline" if step >= 8 else "ml"
        history.add_forecast(forecast(step * EVERY_S, variant))
        history.add_outcome(outcome(step, variant))
    assert [f["model_variant"] for f in history.forecasts(99)] == ["ml"] * 2 + ["baseline"] * 2
    assert [o["model_variant"] for o in history.outcomes(3)] == [
        "ml",
        "baseline",
        "baseline",
    ]
    assert history.forecasts(1)[0]["time"] == "2026-01-05T00:01:30.000Z"


def test_numbers_have_six_digits_and_their_names() -> None:
    """Numbers have six digits; an outcome has the times of issue and maturity as well."""
    history = ForecastHistory(4)
    history.add_forecast(forecast(0))
    history.add_outcome(outcome(59))
    (kept,), (matured,) = history.forecasts(1), history.outcomes(1)
    assert kept["gaps"] == 2
    first = {"horizon_s": 60.0, "sigma": 0.000333333, "lo": 1e-4, "hi": 2e-3, "score": 0.2}
    assert kept["predictions"][0] == first
    assert (matured["issued"], matured["matured"]) == (
        "1970-01-01T01:00:00.000Z",
        "1970-01-01T01:05:00.000Z",
    )
    assert (matured["horizon_s"], matured["realised"], matured["covered"]) == (300.0, 1.5e-3, True)


def test_a_new_history_is_empty() -> None:
    """A new history has neither forecasts nor outcomes."""
    history = ForecastHistory(4)
    assert (history.forecasts(5), history.outcomes(5)) == ([], [])


def test_a_forecast_and_an_outcome_have_all_their_fields() -> None:
    """Both have the fields of the API, with the model's variant and version."""
    history = ForecastHistory(4)
    history.add_forecast(forecast(0))
    history.add_outcome(outcome(59))
    (kept,), (matured,) = history.forecasts(1), history.outcomes(1)
    assert kept | {"predictions": None} == {
        "time": "2026-01-05T00:00:00.000Z",
        "price": 100.0,
        "gaps": 2,
        "model_variant": "ml",
        "version": "1",
        "predictions": None,
    }
    assert [prediction["horizon_s"] for prediction in kept["predictions"]] == [60.0, 300.0]
    assert matured == {
        "issued": "1970-01-01T01:00:00.000Z",
        "matured": "1970-01-01T01:05:00.000Z",
        "horizon_s": 300.0,
        "model_variant": "ml",
        "version": "1",
        "sigma": 1e-3,
        "lo": 1e-4,
        "hi": 2e-3,
        "realised": 1.5e-3,
        "covered": True,
    }


def test_other_horizons_start_the_forecasts_anew() -> None:
    """Forecasts at other horizons do not stand beside those before; versions are kept apart."""
    history = ForecastHistory(4)
    history.add_forecast(forecast(0))
    history.add_forecast(forecast(10)._replace(version="2"))
    assert [f["version"] for f in history.forecasts(9)] == ["1", "2"]
    numbers = forecast(20).numbers[:1]
    history.add_forecast(forecast(20)._replace(horizons_s=(900.0,), numbers=numbers))
    (only,) = history.forecasts(9)
    assert [prediction["horizon_s"] for prediction in only["predictions"]] == [900.0]


@pytest.mark.parametrize("at_s", [0, 10, 20])
def test_the_first_steps_of_the_epoch_are_kept(at_s: int) -> None:
    """The first forecast is kept, whatever its time."""
    history = ForecastHistory(4)
    first = forecast(0)
    history.add_forecast(first._replace(row=first.row._replace(time_ns=at_s * NS)))
    assert len(history.forecasts(9)) == 1
