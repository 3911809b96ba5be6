"""The packaged model on simulated markets whose volatility is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.simulated import START, bars, constant, garch, jump
from volsvc.models import HORIZONS_S, Model, packaged
from volsvc.models.base import matrix_of_scales
from volsvc.models.baseline import Baseline
from volsvc.scoring.past_outcomes import qlike
from volsvc.training.dataset import Minutes, bar_rows
from volsvc.training.walkforward import DAY, calibrated, trailing_log_limit

Array = NDArray[np.float64]
# Per sqrt(minute): five basis points, an ordinary hour of a large market.
SIGMA = 5e-4


def minutes_of(seen: Any) -> Minutes:
    _, scales, _, variance, _ = bar_rows(seen)
    return Minutes("SIM", "", START, scales, scales, variance, variance, ticks=True)


def forecasts(model: Model, minutes: Minutes) -> Array:
    return model.variances(matrix_of_scales(minutes.scales), HORIZONS_S)


@pytest.fixture(scope="module")
def calm() -> Minutes:
    return minutes_of(bars(constant(SIGMA, 20 * DAY), seed=1))


@pytest.mark.parametrize("model", [Baseline(), None], ids=["baseline", "ml"])
def test_constant_volatility(model: Model | None, calm: Minutes) -> None:
    """Sigma is unbiased within 6 %, the effect of the real markets that the model was fitted on."""
    model = model or packaged().model
    variance = forecasts(model, calm)[8 * DAY :]
    ratio = np.sqrt(variance.mean(axis=0) / (SIGMA**2 * np.array(HORIZONS_S) / 60))
    assert np.abs(ratio - 1).max() < 0.06, ratio


@pytest.mark.long
def test_scale(calm: Minutes) -> None:
    """Sigma is proportional to the volatility of the market."""
    louder = minutes_of(bars(constant(3 * SIGMA, 20 * DAY), seed=1))
    one, three = (forecasts(packaged().model, m)[5 * DAY : 10 * DAY] for m in (calm, louder))
    assert np.sqrt(three / one) == pytest.approx(np.full(one.shape, 3.0), rel=1e-3)


@pytest.mark.long
def test_garch() -> None:
    """On a GARCH market sigma is unbiased, and its QLIKE is lower than that of the level alone."""
    sigmas = garch(SIGMA, 30 * DAY, seed=2)
    minutes = minutes_of(bars(sigmas, seed=3))
    variance = forecasts(packaged().model, minutes)
    for column, horizon in enumerate(HORIZONS_S):
        ahead = round(horizon / 60)
        total = np.concatenate(([0.0], np.cumsum(sigmas**2)))
        at = np.arange(8 * DAY, len(minutes) - ahead)
        truth = total[at + 1 + ahead] - total[at + 1]
        forecast = variance[at, column]
        assert math.sqrt(forecast.mean() / truth.mean()) == pytest.approx(1, abs=0.08)
        level = 60 * minutes.scales[at, 0] * ahead
        assert qlike(truth, forecast).mean() < qlike(truth, level).mean()


@pytest.mark.long
def test_intervals_cover(calm: Minutes) -> None:
    """Once a symbol's residuals are learnt, 90 % intervals cover within the binomial band."""
    at = np.arange(5 * DAY, 20 * DAY - 60)
    variance = forecasts(packaged().model, calm)[at]
    limits = np.column_stack([trailing_log_limit(calm, h, at) for h in HORIZONS_S])
    _, low, high = calibrated(packaged().model, calm, at, variance, limits)
    for column, horizon in enumerate(HORIZONS_S):
        ahead = round(horizon / 60)
        # Horizons that do not overlap, after the residuals have been learnt.
        kept = np.arange(9 * DAY, len(at), ahead)
        realised = np.sqrt(calm.realised(horizon)[at[kept]])
        inside = (realised >= low[kept, column]) & (realised <= high[kept, column])
        band = 3 * math.sqrt(0.9 * 0.1 / len(kept))
        assert inside.mean() == pytest.approx(0.9, abs=band + 0.01), horizon


@pytest.mark.long
def test_recovery_after_a_jump() -> None:
    """After volatility trebles, short forecasts have doubled within a quarter of an hour."""
    before = 10 * DAY
    minutes = minutes_of(bars(jump(SIGMA, 3.0, before, DAY), seed=4))
    sigma = np.sqrt(forecasts(packaged().model, minutes) / (np.array(HORIZONS_S) / 60))
    assert sigma[before - 60 : before].mean(axis=0) == pytest.approx(SIGMA, rel=0.15)
    assert (sigma[before + 10 : before + 20].mean(axis=0)[:2] > 2 * SIGMA).all()
    hour = sigma[before + 30 : before + 60].mean(axis=0)
    assert (hour[:3] > 2.2 * SIGMA).all()
    # High volatility of real markets passes, so the forecast of an hour rises more slowly.
    assert hour[3] > 1.5 * SIGMA
    assert sigma[before + 360 : before + 480].mean(axis=0)[3] > 1.9 * SIGMA
    assert (sigma[before + 30 :].mean(axis=0) < 3.6 * SIGMA).all()
