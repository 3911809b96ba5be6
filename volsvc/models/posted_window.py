"""Forecasts of one posted window in Python floats: equal to the arrays to the last bit, and faster.

Most requests post one window, and for a single number an operation of numpy costs twenty times what
it costs in Python. Logarithms and exponentials remain numpy's, since the last bit of those of the C
library may differ.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from volsvc.features import TURBULENCE_RANGE, ResidualLaws
from volsvc.models.base import (
    FLOOR_RATE,
    HORIZONS_S,
    MAX_RATE,
    PRIOR_LEVEL_RATE,
    TURBULENCE_GRID,
    Array,
    Model,
    ModelError,
    Window,
    bracket,
    residual_table,
)


class WindowForecast(NamedTuple):
    """The forecast of one window; the fields are those of `Forecast`."""

    sigma2: float
    p_spike: float
    lo: float
    hi: float
    threshold: float


def forecast_window(
    model: Model, window: Window, horizon_s: float, threshold: float = math.nan
) -> WindowForecast:
    """Return the forecast of `Model.predict` for a row of which only the window is known.

    Raises ModelError if a variance is NaN.
    """
    constants = _constants(model.coarse_laws, model.spike_log_ratios, horizon_s)
    sigma2 = _variance(model, window, horizon_s)
    log_variance = float(np.log(sigma2))
    turbulence = min(max((log_variance - constants.log_limit) / TURBULENCE_RANGE + 1, 0.0), 1.0)
    limit, volatility_limit = constants.log_limit, constants.threshold
    if not math.isnan(threshold):
        limit, volatility_limit = 2 * float(np.log(threshold)), threshold
    residual = limit - log_variance
    calm, turbulent = 1 - constants.calm.at(residual), 1 - constants.turbulent.at(residual)
    return WindowForecast(
        sigma2,
        calm + (turbulent - calm) * turbulence,
        float(np.exp((log_variance + constants.low.at(turbulence)) / 2)),
        float(np.exp((log_variance + constants.high.at(turbulence)) / 2)),
        volatility_limit,
    )


def _variance(model: Model, window: Window, horizon_s: float) -> float:
    """Return `Model.variances` of one window at one horizon."""
    low, high, weight = bracket(horizon_s)
    heads = []
    largest = 0.0
    spans = HORIZONS_S[: high + 1]
    for span_s, head in zip(spans, model.window_variances(window, len(spans)), strict=True):
        # Python's min and max would drop a NaN where numpy keeps it.
        if math.isnan(head):
            raise ModelError(f"{model.variant}-{model.version} gives numbers that are not finite")
        largest = max(largest, min(max(head, FLOOR_RATE * span_s), MAX_RATE * span_s))
        heads.append(largest)
    if low == high:
        return heads[low] * (horizon_s / HORIZONS_S[low])
    logs = (1 - weight) * float(np.log(heads[low])) + weight * float(np.log(heads[high]))
    return float(np.exp(logs))


class _Interpolant:
    """A piecewise linear function: `np.interp` of one number, with the slopes computed before."""

    __slots__ = ("_slopes", "_xs", "_ys")

    def __init__(self, xs: Array | Sequence[float], ys: Array) -> None:
        self._slopes: list[float] = (np.diff(ys) / np.diff(xs)).tolist()
        self._xs: list[float] = np.asarray(xs).tolist()
        self._ys: list[float] = ys.tolist()

    def at(self, x: float) -> float:
        """Return the value at `x`; beyond the ends it is constant."""
        place = bisect_right(self._xs, x) - 1
        if place < 0:
            return self._ys[0]
        if place >= len(self._slopes):
            return self._ys[-1]
        return self._slopes[place] * (x - self._xs[place]) + self._ys[place]


class _Constants(NamedTuple):
    """The part of a forecast at one horizon that does not depend on the window.

    `log_limit` and `threshold` are the spike threshold, as ln variance and as volatility; `calm`
    and `turbulent` the cumulated residual distributions, `low` and `high` the bounds by turbulence
    weight.
    """

    log_limit: float
    threshold: float
    calm: _Interpolant
    turbulent: _Interpolant
    low: _Interpolant
    high: _Interpolant


@lru_cache(256)
def _constants(
    laws: tuple[ResidualLaws, ...], ratios: tuple[float, ...], horizon_s: float
) -> _Constants:
    low, high, weight = bracket(horizon_s)
    ratio = (1 - weight) * ratios[low] + weight * ratios[high]
    log_limit = float(np.log(PRIOR_LEVEL_RATE * horizon_s)) + ratio
    table = residual_table(laws, horizon_s)
    return _Constants(
        log_limit,
        float(np.exp(log_limit / 2)),
        _Interpolant(table.calm.quantiles, table.calm.cumulated),
        _Interpolant(table.turbulent.quantiles, table.turbulent.cumulated),
        _Interpolant(TURBULENCE_GRID, table.bounds[:, 0]),
        _Interpolant(TURBULENCE_GRID, table.bounds[:, 2]),
    )
