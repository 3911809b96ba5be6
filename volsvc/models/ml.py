"""The fitted model: a blend for the state of live symbols, a line for posted windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from volsvc.features import SCALE_NAMES, ResidualLaws
from volsvc.models.base import (
    FEATURES,
    FINE_LAW,
    HORIZONS_S,
    PRIOR_LEVEL_RATE,
    SCALES_FROM,
    SECONDS_PER_TICK,
    Array,
    Model,
    Window,
    known_scales,
    level_variances,
    normal_laws,
    rate_of,
    window_rate,
)
from volsvc.models.heads import Head, Heads, variance_over_range, weighted

# Averages whose plain mean is the forecast for fine ticks; equal weights need no fit.
PLAIN: Final = ("variance_4m", "variance_10m", "variance_30m", "variance_90m")
# Returns a minute, beyond the first, at which that mean is half of the forecast at 60 s.
FINE_RETURNS: Final = 2.0
# Power of the horizon with which more are needed: what heads know better matters further out.
FINE_GROWTH: Final = 0.4
_ENOUGH = FINE_RETURNS * (np.array(HORIZONS_S) / HORIZONS_S[0]) ** FINE_GROWTH
_PLAIN_AT = [FEATURES.index(name) for name in PLAIN]
_RESOLUTION_AT = SCALE_NAMES.index("resolution")
SHORTEST_SPAN_S: Final = 300.0
# Spans of the windows that the line was fitted on; shorter ones are read as the shortest.
LONGEST_SPAN_S: Final = 6000.0


def window_terms(features: Array) -> Array:
    """What the line reads of ret_mean, ret_std, n and span_s: shape (rows, 4).

    1, the window's variance rate relative to an ordinary one, that times the span, the span; all in
    logarithms.
    """
    n, span_s = features[:, 2], features[:, 3]
    covered = np.where(np.isnan(span_s), n * SECONDS_PER_TICK, span_s)
    covered = np.clip(covered, SHORTEST_SPAN_S, LONGEST_SPAN_S)
    span = np.log(covered / SHORTEST_SPAN_S)
    rate = np.log(np.clip(window_rate(features), 1e-12, 1.0) / PRIOR_LEVEL_RATE)
    return np.column_stack((np.ones(len(features)), rate, rate * span, span))


def terms_of(window: Window) -> Window:
    """`window_terms` of one window, in plain numbers."""
    _, _, n, span_s = window
    covered = n * SECONDS_PER_TICK if math.isnan(span_s) else span_s
    covered = min(max(covered, SHORTEST_SPAN_S), LONGEST_SPAN_S)
    span = float(np.log(covered / SHORTEST_SPAN_S))
    rate = float(np.log(min(max(rate_of(window), 1e-12), 1.0) / PRIOR_LEVEL_RATE))
    return 1.0, rate, rate * span, span


def plain_share(scales: Array, count: int) -> Array:
    """How much of the forecast is the mean of plain averages, shape (rows, count).

    The heads were fitted to bars, where a minute's variance is one squared return: they trust it
    little. Seen from ticks it rests on up to twelve returns and says more than they know. None at
    one return; at twelve 0.85 of the forecast a minute ahead and half of the one an hour ahead.
    """
    more = np.maximum(scales[:, _RESOLUTION_AT] - 1, 0.0)[:, None]
    return np.asarray(more / (more + _ENOUGH[:count]))


def plain_variances(features: Array, count: int) -> Array:
    """The mean of plain averages, times the daily pattern: shape (rows, count)."""
    relative = np.exp(features[:, _PLAIN_AT]).mean(axis=1)
    return np.asarray(level_variances(features, count) * relative[:, None])


@dataclass(frozen=True)
class Parts:
    """Everything that was fitted, one a horizon of HORIZONS_S."""

    heads: tuple[Head, ...]
    windows: tuple[Array, ...]
    laws: tuple[ResidualLaws, ...]
    spike_log_ratios: tuple[float, ...]


class MlModel(Model):
    """Heads fitted to QLIKE; docs/model_card.md says on what, and how well they do."""

    variant = "ml"

    def __init__(self, parts: Parts, version: str, digest: str) -> None:
        self.version = version
        self.digest = digest
        self.parts = parts
        self._heads = Heads(parts.heads)
        self._lines = [window.tolist() for window in parts.windows]
        self.laws = normal_laws(FINE_LAW)
        self.coarse_laws = parts.laws
        self.spike_log_ratios = parts.spike_log_ratios

    def head_variances(self, features: Array, count: int) -> Array:
        """Variances at the first of HORIZONS_S; see `Model.head_variances`."""
        live = known_scales(features)
        if live.all():
            return self._of_live(features, count)
        result = np.empty((len(features), count))
        if live.any():
            result[live] = self._of_live(features[live], count)
        terms = window_terms(features[~live])
        lines = np.column_stack([weighted(terms, line) for line in self.parts.windows[:count]])
        result[~live] = np.exp(lines) * PRIOR_LEVEL_RATE * np.array(HORIZONS_S[:count])
        return result

    def _of_live(self, features: Array, count: int) -> Array:
        scales = features[:, SCALES_FROM:]
        fitted = self._heads.variances(scales, count)
        fitted[:, 0] *= variance_over_range(scales)
        plain = plain_variances(features, count)
        return np.asarray(fitted + (plain - fitted) * plain_share(scales, count))

    def window_variances(self, window: Window, count: int) -> list[float]:
        """Variances of one window; see `Model.window_variances`."""
        one, rate, product, span = terms_of(window)
        result = []
        for horizon, line in zip(HORIZONS_S[:count], self._lines, strict=False):
            logarithm = one * line[0] + rate * line[1] + product * line[2] + span * line[3]
            result.append(float(np.exp(logarithm)) * PRIOR_LEVEL_RATE * horizon)
        return result


def check_parts(parts: Parts) -> Sequence[str]:
    """What is wrong with fitted parts, in words; nothing when they can serve."""
    faults = []
    for horizon, head, window in zip(HORIZONS_S, parts.heads, parts.windows, strict=True):
        arrays = (head.mixture, head.centre, head.scale, head.slope, head.weights, window)
        if not all(np.isfinite(array).all() for array in arrays):
            faults.append(f"the head of {horizon:g} s has numbers that are not finite")
        if window[1] < 0 or window[1] + window[2] * np.log(LONGEST_SPAN_S / SHORTEST_SPAN_S) < 0:
            faults.append(f"the window line of {horizon:g} s falls with ret_std")
    return faults
