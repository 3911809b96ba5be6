"""The fitted model: blends for the state of live symbols, log-linear fits for posted windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from volsvc.features import SCALE_NAMES, ResidualLaws
from volsvc.models.base import (
    FEATURES,
    HORIZONS_S,
    PRIOR_LEVEL_RATE,
    SCALES_FROM,
    SECONDS_PER_TICK,
    TICK_RESIDUALS,
    Array,
    Model,
    Window,
    known_scales,
    level_variances,
    normal_laws,
    scalar_window_rate,
    window_rate,
)
from volsvc.models.heads import Head, Heads, variance_over_range, weighted_sum

# Averages whose equally weighted mean is part of the forecast from ticks. There are too few real
# ticks to fit weights (docs/model_card.md).
AVERAGES: Final = ("variance_4m", "variance_10m", "variance_30m", "variance_90m")
# Returns a minute, beyond the first, at which that mean is half of the forecast at 60 s.
HALF_WEIGHT_RETURNS: Final = 2.0
# Power of the horizon with which more returns are needed for the same weight: what the heads have
# learnt from bars matters more at longer horizons.
HALF_WEIGHT_POWER: Final = 0.4
_HALF_WEIGHT = HALF_WEIGHT_RETURNS * (np.array(HORIZONS_S) / HORIZONS_S[0]) ** HALF_WEIGHT_POWER
_AVERAGE_COLUMNS = [FEATURES.index(name) for name in AVERAGES]
_RESOLUTION_COLUMN = SCALE_NAMES.index("resolution")
# Spans of the windows that the window fit has seen; others are read as the nearest of these.
MIN_SPAN_S: Final = 300.0
MAX_SPAN_S: Final = 6000.0


def window_terms(features: Array) -> Array:
    """Return the regressors of the window fit from the window columns: shape (rows, 4).

    They are 1, the window's variance rate relative to PRIOR_LEVEL_RATE, its product with the span,
    and the span; rate and span in logarithms.
    """
    n, span_s = features[:, 2], features[:, 3]
    covered = np.where(np.isnan(span_s), n * SECONDS_PER_TICK, span_s)
    covered = np.clip(covered, MIN_SPAN_S, MAX_SPAN_S)
    span = np.log(covered / MIN_SPAN_S)
    rate = np.log(np.clip(window_rate(features), 1e-12, 1.0) / PRIOR_LEVEL_RATE)
    return np.column_stack((np.ones(len(features)), rate, rate * span, span))


def scalar_window_terms(window: Window) -> Window:
    """Return `window_terms` of one window, in Python floats."""
    _, _, n, span_s = window
    covered = n * SECONDS_PER_TICK if math.isnan(span_s) else span_s
    covered = min(max(covered, MIN_SPAN_S), MAX_SPAN_S)
    span = float(np.log(covered / MIN_SPAN_S))
    rate = float(np.log(min(max(scalar_window_rate(window), 1e-12), 1.0) / PRIOR_LEVEL_RATE))
    return 1.0, rate, rate * span, span


def average_weight(scales: Array, count: int) -> Array:
    """Return the weight of the mean of averages in the forecast, shape (rows, count).

    The heads were fitted to bars, where a minute's variance is one squared return, so they give it
    little weight. From ticks it rests on up to twelve returns and holds more than the heads use.
    The weight is 0 at one return a minute; at twelve it is 0.85 a minute ahead and about a half an
    hour ahead.
    """
    more = np.maximum(scales[:, _RESOLUTION_COLUMN] - 1, 0.0)[:, None]
    return np.asarray(more / (more + _HALF_WEIGHT[:count]))


def average_variances(features: Array, count: int) -> Array:
    """Return the mean of averages times the daily pattern: shape (rows, count)."""
    relative = np.exp(features[:, _AVERAGE_COLUMNS]).mean(axis=1)
    return np.asarray(level_variances(features, count) * relative[:, None])


@dataclass(frozen=True)
class MlParameters:
    """Everything that was fitted; each field has one item for each of HORIZONS_S.

    `windows` are the coefficients of `window_terms`, `laws` the distributions of residuals on bars.
    """

    heads: tuple[Head, ...]
    windows: tuple[Array, ...]
    laws: tuple[ResidualLaws, ...]
    spike_log_ratios: tuple[float, ...]


class MlModel(Model):
    """Heads fitted to QLIKE; docs/model_card.md has the data and the results."""

    variant = "ml"

    def __init__(self, parameters: MlParameters, version: str, digest: str) -> None:
        self.version = version
        self.digest = digest
        self.parameters = parameters
        self._heads = Heads(parameters.heads)
        self._window_coefficients = [window.tolist() for window in parameters.windows]
        # The fitted residuals are those of bars; minutes seen from ticks are measured better.
        self.laws = normal_laws(TICK_RESIDUALS)
        self.coarse_laws = parameters.laws
        self.spike_log_ratios = parameters.spike_log_ratios

    def head_variances(self, features: Array, count: int) -> Array:
        """Return the variances at the first of HORIZONS_S; see `Model.head_variances`."""
        live = known_scales(features)
        if live.all():
            return self._live_variances(features, count)
        result = np.empty((len(features), count))
        if live.any():
            result[live] = self._live_variances(features[live], count)
        terms = window_terms(features[~live])
        windows = self.parameters.windows[:count]
        logs = np.column_stack([weighted_sum(terms, window) for window in windows])
        result[~live] = np.exp(logs) * PRIOR_LEVEL_RATE * np.array(HORIZONS_S[:count])
        return result

    def _live_variances(self, features: Array, count: int) -> Array:
        scales = features[:, SCALES_FROM:]
        fitted = self._heads.variances(scales, count)
        fitted[:, 0] *= variance_over_range(scales)
        average = average_variances(features, count)
        return np.asarray(fitted + (average - fitted) * average_weight(scales, count))

    def window_variances(self, window: Window, count: int) -> list[float]:
        """Return the variances of one window; see `Model.window_variances`."""
        one, rate, product, span = scalar_window_terms(window)
        result = []
        # In the order in which numpy sums four columns, so that both ways agree to the last bit.
        for horizon, line in zip(HORIZONS_S[:count], self._window_coefficients, strict=False):
            logarithm = one * line[0] + rate * line[1] + product * line[2] + span * line[3]
            result.append(float(np.exp(logarithm)) * PRIOR_LEVEL_RATE * horizon)
        return result


def check_parameters(parameters: MlParameters) -> Sequence[str]:
    """Return the faults of fitted parameters, as texts; empty if they can serve."""
    faults = []
    for horizon, head, window in zip(HORIZONS_S, parameters.heads, parameters.windows, strict=True):
        arrays = (head.mixture, head.centre, head.scale, head.slope, head.weights, window)
        if not all(np.isfinite(array).all() for array in arrays):
            faults.append(f"the head of {horizon:g} s has numbers that are not finite")
        # The elasticity is linear in the log span, so its ends are enough.
        if window[1] < 0 or window[1] + window[2] * np.log(MAX_SPAN_S / MIN_SPAN_S) < 0:
            faults.append(f"the window line of {horizon:g} s falls with ret_std")
    return faults
