"""One posted window in plain numbers: what the arrays give, to the last bit, and far sooner.

Most requests post one window, and for one number an operation of numpy costs twenty times what it
costs in Python. Logarithms and exponentials are numpy's own, whose last bit need not be that of the
C library's.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from volsvc.features import STORM_FROM, ResidualLaws
from volsvc.models.base import (
    FLOOR_RATE,
    GREATEST_RATE,
    HORIZONS_S,
    PRIOR_LEVEL_RATE,
    STORM_GRID,
    Array,
    Model,
    ModelError,
    Window,
    bracket,
    law_table,
)


class WindowForecast(NamedTuple):
    """The forecast for one window; see `Forecast` for what each number is."""

    sigma2: float
    p_spike: float
    lo: float
    hi: float
    threshold: float


def forecast_window(
    model: Model, window: Window, horizon_s: float, threshold: float = math.nan
) -> WindowForecast:
    """What `Model.predict` says of a row of which only the window is known.

    Raises ModelError when that is not finite.
    """
    law = _law(model, horizon_s)
    sigma2 = _variance(model, window, horizon_s)
    centre = float(np.log(sigma2))
    storm = min(max((centre - law.log_limit) / STORM_FROM + 1, 0.0), 1.0)
    limit, shown = law.log_limit, law.shown
    if not math.isnan(threshold):
        limit, shown = 2 * float(np.log(threshold)), threshold
    residual = limit - centre
    calm, stormy = 1 - law.calm.at(residual), 1 - law.stormy.at(residual)
    return WindowForecast(
        sigma2,
        calm + (stormy - calm) * storm,
        float(np.exp((centre + law.low.at(storm)) / 2)),
        float(np.exp((centre + law.high.at(storm)) / 2)),
        shown,
    )


def _variance(model: Model, window: Window, horizon_s: float) -> float:
    """`Model.variances` for one window and horizon."""
    low, high, weight = bracket(horizon_s)
    heads = []
    most = 0.0
    for span_s, head in zip(HORIZONS_S, model.window_variances(window, high + 1), strict=False):
        if math.isnan(head):
            raise ModelError(f"{model.variant}-{model.version} gives numbers that are not finite")
        most = max(most, min(max(head, FLOOR_RATE * span_s), GREATEST_RATE * span_s))
        heads.append(most)
    if low == high:
        return heads[low] * (horizon_s / HORIZONS_S[low])
    logs = (1 - weight) * float(np.log(heads[low])) + weight * float(np.log(heads[high]))
    return float(np.exp(logs))


class _Line:
    """`np.interp` of one number."""

    __slots__ = ("_slopes", "_xs", "_ys")

    def __init__(self, xs: Array | Sequence[float], ys: Array) -> None:
        self._slopes: list[float] = (np.diff(ys) / np.diff(xs)).tolist()
        self._xs: list[float] = np.asarray(xs).tolist()
        self._ys: list[float] = ys.tolist()

    def at(self, x: float) -> float:
        place = bisect_right(self._xs, x) - 1
        if place < 0:
            return self._ys[0]
        if place >= len(self._slopes):
            return self._ys[-1]
        return self._slopes[place] * (x - self._xs[place]) + self._ys[place]


class _Law(NamedTuple):
    """What a model says of any window at one horizon."""

    log_limit: float
    shown: float
    calm: _Line
    stormy: _Line
    low: _Line
    high: _Line


def _law(model: Model, horizon_s: float) -> _Law:
    return _law_of(model.coarse_laws, model.spike_log_ratios, horizon_s)


@lru_cache(256)
def _law_of(laws: tuple[ResidualLaws, ...], ratios: tuple[float, ...], horizon_s: float) -> _Law:
    low, high, weight = bracket(horizon_s)
    ratio = (1 - weight) * ratios[low] + weight * ratios[high]
    log_limit = float(np.log(PRIOR_LEVEL_RATE * horizon_s)) + ratio
    table = law_table(laws, horizon_s)
    return _Law(
        log_limit,
        float(np.exp(log_limit / 2)),
        _Line(table.calm.quantiles, table.calm.cumulated),
        _Line(table.stormy.quantiles, table.stormy.cumulated),
        _Line(STORM_GRID, table.bounds[:, 0]),
        _Line(STORM_GRID, table.bounds[:, 2]),
    )
