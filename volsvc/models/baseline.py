"""The baseline: exponentially weighted variance, and a lognormal law around it.

Code and a few constants; there is no artefact that could be missing or corrupt. A row of a live
symbol brings its own variance rate; a posted row of ret_mean, ret_std, n is turned into one by the
time that its window covers.
"""

from __future__ import annotations

import hashlib
import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import COVERAGE, Forecast
from volsvc.models.base import FEATURES, FLOOR_RATE

SECONDS_PER_TICK = 0.2
"""Median gap between the ticks of a liquid Coinbase market, for rows that give no span."""

PRIOR_LEVEL_RATE = (4e-4) ** 2 / 60
"""Variance per second of an ordinary hour (4 bp a minute), for rows that give no level."""

SPIKE_RATIO = 2.0
"""Realised variance above this multiple of the symbol's level is a spike: the 90 % quantile of the
ratio, 1.99 to 2.17 at 5 to 60 minutes on a year of 1-minute bars of five symbols."""

RESIDUAL_LAW = ((60.0, -0.4, 1.0), (300.0, -0.2, 1.0), (900.0, -0.2, 1.1), (3600.0, 0.0, 1.0))
"""Horizon, mean and standard deviation of ln RV - ln forecast, rounded from the same bars and two
hours of ticks. In between it is interpolated over the logarithm of the horizon."""

GREATEST_RATE = 1.0
"""Most variance per second that is believed: a posted row may claim anything."""


class Baseline:
    """EWMA at a fixed half-life; can't fail to load."""

    variant = "baseline"
    version = "1"
    schema: tuple[str, ...] = FEATURES

    def __init__(self) -> None:
        constants = repr((SECONDS_PER_TICK, PRIOR_LEVEL_RATE, SPIKE_RATIO, RESIDUAL_LAW))
        self.digest = hashlib.sha256(f"{self.version}{constants}".encode()).hexdigest()

    def predict(
        self, features: NDArray[np.float64], horizon_s: float, threshold: float | None = None
    ) -> Forecast:
        """Forecasts of a matrix of shape (rows, len(FEATURES)); see `Model.predict`."""
        mean, std, n, span, rate, level = features.T
        known = np.where(np.isnan(rate), window_rate(mean, std, n, span), rate)
        sigma2 = np.clip(known, FLOOR_RATE, GREATEST_RATE) * horizon_s
        level = np.maximum(np.where(np.isnan(level), PRIOR_LEVEL_RATE, level), FLOOR_RATE)
        limit = (
            np.sqrt(SPIKE_RATIO * level * horizon_s)
            if threshold is None
            else np.full(len(sigma2), threshold)
        )
        centre, spread = residual_law(horizon_s)
        middle = np.log(sigma2) + centre
        half = NormalDist().inv_cdf((1 + COVERAGE) / 2) * spread
        return Forecast(
            horizon_s=horizon_s,
            sigma2=sigma2,
            p_spike=_normal_cdf((middle - 2 * np.log(limit)) / spread),
            lo=np.exp((middle - half) / 2),
            hi=np.exp((middle + half) / 2),
            threshold=limit,
        )


def window_rate(
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    n: NDArray[np.float64],
    span_s: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Variance per second of a window: its sum of squared returns over the time it covers.

    sum r**2 = (n - 1) std**2 + n mean**2; without a span each return stands for the median gap.
    """
    covered = np.where(np.isnan(span_s) | (span_s <= 0), n * SECONDS_PER_TICK, span_s)
    squares = np.maximum(n - 1, 1) * std**2 + n * mean**2
    rate: NDArray[np.float64] = squares / np.maximum(covered, SECONDS_PER_TICK)
    return rate


def residual_law(horizon_s: float) -> tuple[float, float]:
    """Mean and standard deviation of ln RV - ln forecast at a horizon."""
    horizons, centres, spreads = zip(*RESIDUAL_LAW, strict=True)
    at = math.log(horizon_s)
    grid = np.log(horizons)
    return float(np.interp(at, grid, centres)), float(np.interp(at, grid, spreads))


def _normal_cdf(z: NDArray[np.float64]) -> NDArray[np.float64]:
    # math.erfc row by row: numpy has none, and scipy is 30 MB for one function.
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z.tolist()])
