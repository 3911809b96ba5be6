"""Losses, tests and calibration of forecasts; docs/feature_spec.md has the definitions.

Forecasts and outcomes are variances, arrays of shape (n,); `daily` arrays have the shape (days,).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DM_LAGS: Final = 7
CALIBRATION_BINS: Final = 15
# Days of a bootstrap block: losses of neighbouring days depend on one another.
BLOCK_DAYS: Final = 7


def by_day(values: Array, minute: NDArray[np.int64]) -> Array:
    """Return means by UTC day, in the order of the days."""
    _, day = np.unique(minute // 1440, return_inverse=True)
    return np.asarray(np.bincount(day, values) / np.bincount(day))


class DieboldMariano(NamedTuple):
    """The result of a test: `t` is negative if the first model's loss is lower, `p` two-sided."""

    t: float
    p: float


def diebold_mariano(daily: Array, daily_other: Array) -> DieboldMariano:
    """Test equal daily losses: Diebold and Mariano (1995), Newey-West with DM_LAGS lags.

    The factor is that of Harvey, Leybourne and Newbold (1997), the distribution Student's. The
    result is NaN if the losses do not differ or the days are too few.
    """
    from scipy.stats import t as student

    if len(daily) <= DM_LAGS + 1:
        return DieboldMariano(math.nan, math.nan)
    difference = daily - daily_other
    n = len(difference)
    centred = difference - difference.mean()
    lags = DM_LAGS
    variance = float(centred @ centred) / n
    for lag in range(1, lags + 1):
        # Newey and West's weights, which keep the variance from being negative.
        weight = 1 - lag / (lags + 1)
        variance += 2 * weight * float(centred[lag:] @ centred[:-lag]) / n
    if variance <= 0:
        return DieboldMariano(math.nan, math.nan)
    steps = lags + 1
    factor = math.sqrt(max(n + 1 - 2 * steps + steps * (steps - 1) / n, 1.0) / n)
    value = factor * float(difference.mean()) / math.sqrt(variance / n)
    return DieboldMariano(value, float(2 * student.sf(abs(value), n - 1)))


class MincerZarnowitz(NamedTuple):
    """The regression sqrt(RV) = intercept + slope * sqrt(h), and its R squared."""

    intercept: float
    slope: float
    r2: float


def mincer_zarnowitz(realised: Array, forecast: Array) -> MincerZarnowitz:
    """Regress realised on forecast volatility (Mincer and Zarnowitz 1969)."""
    y, x = np.sqrt(realised), np.sqrt(forecast)
    covariance = np.cov(x, y)
    slope = float(covariance[0, 1] / covariance[0, 0])
    r2 = float(covariance[0, 1] ** 2 / (covariance[0, 0] * covariance[1, 1]))
    return MincerZarnowitz(float(y.mean() - slope * x.mean()), slope, r2)


def pr_auc(label: NDArray[np.bool_], score: Array) -> float:
    """Return average precision; chance is the share of positives. NaN without positives."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(label, score)) if label.any() else math.nan


def expected_calibration_error(label: NDArray[np.bool_], probability: Array) -> float:
    """Return the mean |probability - frequency| over CALIBRATION_BINS bins of equal mass."""
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, CALIBRATION_BINS)
    distances = [abs(label[p].mean() - probability[p].mean()) * len(p) for p in parts if len(p)]
    return float(sum(distances) / len(order))


def brier(label: NDArray[np.bool_], probability: Array) -> float:
    """Return the mean squared difference of probability and outcome."""
    return float(np.mean((probability - label) ** 2))


def model_confidence_set(daily_losses: Mapping[str, Array], seed: int) -> tuple[str, ...]:
    """Return the models that are not shown to be worse at 90 % (Hansen, Lunde and Nason 2011).

    The set is empty for less than four blocks of days, from which nothing can be shown.
    """
    import pandas as pd
    from arch.bootstrap import MCS

    if min(len(losses) for losses in daily_losses.values()) < 4 * BLOCK_DAYS:
        return ()
    test = MCS(pd.DataFrame(daily_losses), size=0.1, block_size=BLOCK_DAYS, reps=1000, seed=seed)
    test.compute()
    return tuple(str(name) for name in test.included)
