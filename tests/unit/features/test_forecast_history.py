"""The rings of what was said and how it turned out."""

from __future__ import annotations

import pytest

from volsvc.domain import NS, FeatureRow, IssuedForecast, Outcome, Prediction, Quality, Snapshot
from volsvc.features.forecast_history import EVERY_S, ForecastHistory

START = 1_767_571_200 * NS
QUALITY = Quality(gaps=2, duplicates=0, late=0, fill_ratio=1.0, verdict="ok")


def said(at_s: float, variant: str = "ml", price: float = 100.0) -> Snapshot:
    row = FeatureRow("BTC-USD", START + round(at_s * NS), price, 0.0, 1e-5, 49, 10.0)
    predictions = tuple(Prediction(h, 1e-3 / 3, 1e-4, 2e-3, 1e-3, 0.2) for h in (60.0, 300.0))
    return Snapshot(row, 0.2, variant, "1", predictions, QUALITY, {})


def outcome(minute: int, variant: str = "ml") -> Outcome:
    issued = IssuedForecast(variant, "1", minute, 5, 1e-3, 1e-4, 2e-3, 1e-3, 0.2)
    return Outcome(issued, 1.5e-3, 0.1, covered=True, brier=0.04)


@pytest.mark.parametrize("every_s", [0.3, 1.0, 10.0, 25.0])
def test_one_forecast_a_step_of_event_time(every_s: float) -> None:
    """However dense the forecasts are, the first of each ten seconds is kept, no other."""
    forecast_history, times = ForecastHistory(1000), [every_s * k for k in range(200)]
    for at_s in times:
        forecast_history.see(said(at_s, price=1.0 + at_s))
    firsts: dict[int, float] = {}
    for at_s in times:
        firsts.setdefault(int(at_s) // EVERY_S, at_s)
    assert [f["price"] - 1.0 for f in forecast_history.forecasts(1000)] == pytest.approx(
        [*firsts.values()]
    )


def test_it_is_bounded_and_names_each_model() -> None:
    """The newest remain, each with the model that said it, oldest first."""
    forecast_history = ForecastHistory(4)
    for step in range(10):
        variant = "baseline" if step >= 8 else "ml"
        forecast_history.see(said(step * EVERY_S, variant))
        forecast_history.judge([outcome(step, variant)])
    assert [f["model_variant"] for f in forecast_history.forecasts(99)] == ["ml"] * 2 + [
        "baseline"
    ] * 2
    assert [o["model_variant"] for o in forecast_history.outcomes(3)] == [
        "ml",
        "baseline",
        "baseline",
    ]
    assert forecast_history.forecasts(1)[0]["time"] == "2026-01-05T00:01:30.000Z"


def test_numbers_have_six_digits_and_their_names() -> None:
    """A forecast says what was said, an outcome also what came and when."""
    forecast_history = ForecastHistory(4)
    forecast_history.see(said(0))
    forecast_history.judge([outcome(59)])
    (forecast,), (judged,) = forecast_history.forecasts(1), forecast_history.outcomes(1)
    assert forecast["gaps"] == 2
    first = {"horizon_s": 60.0, "sigma": 0.000333333, "lo": 1e-4, "hi": 2e-3, "score": 0.2}
    assert forecast["predictions"][0] == first
    assert (judged["issued"], judged["matured"]) == (
        "1970-01-01T01:00:00.000Z",
        "1970-01-01T01:05:00.000Z",
    )
    assert (judged["horizon_s"], judged["realised"], judged["covered"]) == (300.0, 1.5e-3, True)


def test_a_new_one_is_empty() -> None:
    """Nothing was said, nothing was judged."""
    forecast_history = ForecastHistory(4)
    assert (forecast_history.forecasts(5), forecast_history.outcomes(5)) == ([], [])
