"""The fitted model: blends for the state of live symbols, log-linear fits for posted windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from volsvc.features import ResidualLaws
from volsvc.models.base import TICK_RESIDUALS, Array, Model, feature_matrix, normal_laws
from volsvc.models.columns import HORIZONS_S
from volsvc.models.heads import Head, Heads
from volsvc.models.kernels.live import fill_live_variances
from volsvc.models.kernels.windows import MAX_SPAN_S, MIN_SPAN_S, TERMS, posted_variances


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
        self._windows = np.array(parameters.windows, dtype=np.float64)
        if self._windows.shape != (len(HORIZONS_S), TERMS):
            raise ValueError(f"the window fits have the shape {self._windows.shape}")
        # The fitted residuals are those of bars; minutes seen from ticks are measured better.
        self.laws = normal_laws(TICK_RESIDUALS)
        self.coarse_laws = parameters.laws
        self.spike_log_ratios = parameters.spike_log_ratios

    def head_variances(self, features: Array, count: int) -> Array:
        """Return the variances at the first of HORIZONS_S; see `Model.head_variances`."""
        features = feature_matrix(features)
        found, live = posted_variances(features, self._windows[:count])
        if live:
            fill_live_variances(features, found, live, *self._heads.arguments(count))
        return found


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
