"""Forecasts at any horizon from the variances at the fitted ones: bounds, thresholds, intervals."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.compiled import kernel
from volsvc.features import LEVELS
from volsvc.features.kernels.laws import (
    HIGH_LEVEL,
    LOW_LEVEL,
    above,
    quantile,
    turbulence_weight,
)
from volsvc.models.columns import FLOOR_RATE, LEVEL, MAX_RATE, PRIOR_LEVEL_RATE, SCALES_FROM
from volsvc.models.kernels.bounds import HORIZONS, clamped

Array = NDArray[np.float64]
Records = NDArray[Any]

# A horizon: the indices of the fitted ones around it, and its place in ln horizon between them.
_BRACKET = [
    ("horizon_s", np.float64),
    ("low", np.int64),
    ("high", np.int64),
    ("weight", np.float64),
]
# The elements have the fields as attributes in Python too, where kernels are not compiled.
BRACKET: Final = np.dtype((np.record, _BRACKET))
# A horizon with ln of the spike threshold over the level, and its residual laws: those of posted
# windows and bars, and those of live symbols.
HORIZON: Final = np.dtype(
    (
        np.record,
        [
            *_BRACKET,
            ("log_ratio", np.float64),
            ("quantiles", np.float64, (2, len(LEVELS))),
            ("calm", np.float64, (2, len(LEVELS))),
            ("turbulent", np.float64, (2, len(LEVELS))),
        ],
    )
)
# Rows of the result of `predictions`, in the order of the fields of `Forecast`.
_SIGMA2, _P_SPIKE, _LO, _HI, _THRESHOLD = range(5)


@kernel
def fill_rising(heads: Array, rising: Array) -> bool:
    """Write the variances at the fitted horizons within their bounds, and rising with the horizon.

    Realised variance is a sum over time, but the heads are fitted apart from one another. Return
    False if one of them is NaN.
    """
    largest = 0.0
    for index in range(len(heads)):
        span_s = HORIZONS[index]
        variance = clamped(heads[index], FLOOR_RATE * span_s, MAX_RATE * span_s)
        if math.isnan(variance):
            return False
        largest = max(largest, variance)
        rising[index] = largest
    return True


@kernel
def interpolated(rising: Array, low: int, high: int, weight: float, horizon_s: float) -> float:
    """Return the variance at a horizon: ln variance is linear in ln horizon between fitted ones.

    Beyond them the variance per second is constant. The arguments are the fields of BRACKET.
    """
    if low == high:
        variance: float = rising[low] * (horizon_s / HORIZONS[low])
        return variance
    return math.exp((1 - weight) * math.log(rising[low]) + weight * math.log(rising[high]))


@kernel
def variances(heads: Array, brackets: Records) -> tuple[Array, bool]:
    """Return the variances of rows at each horizon, (rows, horizons), and whether all are known."""
    found = np.empty((len(heads), len(brackets)))
    rising = np.empty(heads.shape[1])
    for row in range(len(heads)):
        if not fill_rising(heads[row], rising):
            return found, False
        for index in range(len(brackets)):
            at = brackets[index]
            found[row, index] = interpolated(rising, at.low, at.high, at.weight, at.horizon_s)
    return found, True


@kernel
def log_threshold(level: float, horizon_s: float, log_ratio: float) -> float:
    """Return ln of the spike threshold on realised variance, from a row's level."""
    if math.isnan(level):
        level = PRIOR_LEVEL_RATE
    return math.log(clamped(level, FLOOR_RATE, MAX_RATE) * horizon_s) + log_ratio


@kernel
def log_thresholds(features: Array, horizon_s: float, log_ratio: float) -> Array:
    """Return `log_threshold` of each row."""
    found = np.empty(len(features))
    for row in range(len(features)):
        found[row] = log_threshold(features[row, SCALES_FROM + LEVEL], horizon_s, log_ratio)
    return found


@kernel
def predictions(
    features: Array, heads: Array, horizons: Records, thresholds: Array
) -> tuple[Array, bool]:
    """Return the forecasts of rows at the one horizon given, (5, rows), and whether all are known.

    `thresholds` are realised volatilities, of which NaN stands for the usual one of the row's
    level; one for each row, or one for all.
    """
    horizon = horizons[0]
    found = np.empty((5, len(features)))
    rising = np.empty(heads.shape[1])
    for row in range(len(features)):
        if not fill_rising(heads[row], rising):
            return found, False
        low, high, between = horizon.low, horizon.high, horizon.weight
        sigma2 = interpolated(rising, low, high, between, horizon.horizon_s)
        log_variance = math.log(sigma2)
        level = features[row, SCALES_FROM + LEVEL]
        limit = log_threshold(level, horizon.horizon_s, horizon.log_ratio)
        # The regime depends on the usual threshold, not on the one that the caller asks about.
        weight = turbulence_weight(log_variance, limit)
        threshold = thresholds[row if len(thresholds) > 1 else 0]
        if math.isnan(threshold):
            threshold = math.exp(limit / 2)
        else:
            limit = 2 * math.log(threshold)
        kind = 0 if math.isnan(level) else 1
        quantiles, calm = horizon.quantiles[kind], horizon.calm[kind]
        turbulent = horizon.turbulent[kind]
        least = quantile(quantiles, calm, turbulent, weight, LOW_LEVEL)
        most = quantile(quantiles, calm, turbulent, weight, HIGH_LEVEL)
        found[_SIGMA2, row] = sigma2
        found[_P_SPIKE, row] = above(quantiles, calm, turbulent, weight, limit - log_variance)
        # Half of a log variance is a log volatility.
        found[_LO, row] = math.exp((log_variance + least) / 2)
        found[_HI, row] = math.exp((log_variance + most) / 2)
        found[_THRESHOLD, row] = threshold
    return found, True
