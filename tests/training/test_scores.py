"""Losses and tests against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from volsvc.scoring.past_outcomes import qlike
from volsvc.training.evaluation import Scores, score
from volsvc.training.scores import (
    brier,
    by_day,
    diebold_mariano,
    expected_calibration_error,
    mincer_zarnowitz,
    model_confidence_set,
    pr_auc,
)
from volsvc.training.walkforward import DAY, OURS, WalkForwardResult

positive = st.floats(1e-12, 1e3)


@given(positive, positive)
def test_qlike(realised: float, forecast: float) -> None:
    """QLIKE is zero for equal values, positive for others, and independent of the unit."""
    loss = qlike(np.array([realised]), np.array([forecast]))[0]
    assert loss >= 0
    assert qlike(np.array([realised]), np.array([realised]))[0] == 0
    scaled = qlike(np.array([2 * realised]), np.array([2 * forecast]))[0]
    assert scaled == pytest.approx(loss, rel=1e-6, abs=1e-9)


def test_days() -> None:
    """`by_day` returns the mean of each UTC day, whatever its number of minutes."""
    minute = np.array([1440, 1441, 2880, 2881, 2882])
    assert by_day(np.array([1.0, 3.0, 6.0, 6.0, 0.0]), minute).tolist() == [2.0, 4.0]


def test_diebold_mariano_holds_its_size_and_has_power() -> None:
    """The test rejects equal models in about 5 % of samples, and finds a real difference."""
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(400):
        noise = rng.normal(size=(182, 2))
        # Losses of neighbouring days depend on one another.
        smooth = noise[1:] + 0.5 * noise[:-1]
        found += diebold_mariano(smooth[:, 0], smooth[:, 1]).p < 0.05
    assert 0.02 <= found / 400 <= 0.12
    base = rng.normal(size=181)
    better = diebold_mariano(base - 0.5 + 0.1 * rng.normal(size=181), base)
    assert better.t < -10
    assert better.p < 1e-10
    assert math.isnan(diebold_mariano(base, base).p)


def test_mincer_zarnowitz_of_a_line() -> None:
    """The regression of a line returns its intercept, slope and an R squared of one."""
    forecast = np.linspace(1, 4, 50) ** 2
    fit = mincer_zarnowitz((0.5 + 0.8 * np.sqrt(forecast)) ** 2, forecast)
    assert fit == pytest.approx((0.5, 0.8, 1.0))


def test_probabilities() -> None:
    """Calibrated probabilities have no calibration error; that of shifted ones is the shift."""
    rng = np.random.default_rng(6)
    probability = rng.uniform(0.1, 0.8, 200_000)
    label = rng.uniform(size=200_000) < probability
    assert expected_calibration_error(label, probability) < 0.005
    shifted = expected_calibration_error(label, probability + 0.1)
    assert shifted == pytest.approx(0.1, abs=0.005)
    assert brier(np.array([True, False]), np.array([1.0, 0.5])) == 0.125
    assert pr_auc(label, rng.uniform(size=200_000)) == pytest.approx(label.mean(), abs=0.01)
    assert math.isnan(pr_auc(np.zeros(3, dtype=bool), probability[:3]))


def test_confidence_set_drops_the_worst() -> None:
    """The set holds the best model, and not one that is worse every day."""
    rng = np.random.default_rng(7)
    base = rng.normal(size=180)
    losses = {"good": base, "bad": base + 1 + 0.1 * rng.normal(size=180)}
    assert model_confidence_set(losses, seed=1) == ("good",)


def test_weekends_are_judged_apart() -> None:
    """Saturdays and Sundays, UTC, have a loss of their own; a test without them has none."""
    # A Thursday.
    minutes = np.arange(7 * DAY) + 2_000 * 7 * DAY
    weekend = np.isin(np.arange(7 * DAY) // DAY, [2, 3])
    realised = np.exp(np.random.default_rng(3).normal(size=7 * DAY))
    ratios = {OURS: np.where(weekend, 2.0, 1.5), "EWMA": np.where(weekend, 1.5, 2.0)}
    unknown = np.full(7 * DAY, 0.5)

    def scored(kept: NDArray[np.bool_]) -> Scores:
        return score(
            WalkForwardResult(
                "A",
                300.0,
                minutes[kept],
                realised[kept],
                {name: (realised * ratio)[kept] for name, ratio in ratios.items()},
                np.where(np.arange(len(minutes)) % 2, 1.0, -1.0)[kept],
                unknown[kept],
                unknown[kept],
                unknown[kept],
            )
        )

    found = scored(np.full(7 * DAY, True))
    loss, small = (float(qlike(np.array(1.0), np.array(h))) for h in (2.0, 1.5))
    assert found.weekend_qlike == pytest.approx({OURS: loss, "EWMA": small})
    assert found.qlike == pytest.approx(
        {OURS: (2 * loss + 5 * small) / 7, "EWMA": (5 * loss + 2 * small) / 7}
    )
    assert math.isnan(scored(~weekend).weekend_gain("EWMA"))
