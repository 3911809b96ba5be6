"""From data sets to a model: every horizon fitted, with the laws of what it gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import GammaRegressor

from volsvc.features import SCALE_NAMES, ResidualLaw
from volsvc.models.base import FEATURES, HORIZONS_S, PRIOR_LEVEL_RATE
from volsvc.models.heads import Head
from volsvc.models.ml import Parts, window_terms
from volsvc.training.dataset import Array, Minutes
from volsvc.training.fit import FitSpec, fit_head, sample

WINDOWS = (5, 15, 50, 100)
"""Lengths in minutes of the windows that the line for posted rows is fitted on."""
SPIKE_QUANTILE = 0.9
_LEVEL_AT = SCALE_NAMES.index("level")


@dataclass(frozen=True)
class Horizon:
    """What was fitted for one horizon."""

    head: Head
    window: Array
    law: ResidualLaw
    spike_log_ratio: float


def fit_horizon(panel: Sequence[Minutes], horizon_s: float, end: int, spec: FitSpec) -> Horizon:
    """Fit one horizon on everything that is known at the minute `end` (since the epoch)."""
    rows = sample(panel, horizon_s, end, spec)
    head, residuals = fit_head(rows, horizon_s, spec)
    level = np.maximum(rows.scales[:, _LEVEL_AT], 1e-15) * horizon_s
    return Horizon(
        head=head,
        window=_fit_window(panel, horizon_s, end, spec),
        law=ResidualLaw.of_residuals(residuals),
        spike_log_ratio=float(np.quantile(np.log(rows.realised / level), SPIKE_QUANTILE)),
    )


def _fit_window(panel: Sequence[Minutes], horizon_s: float, end: int, spec: FitSpec) -> Array:
    """The line for posted windows: gamma regression on windows of 1-minute returns."""
    terms, targets = [], []
    ahead = round(horizon_s / 60)
    for symbol in panel:
        total = np.concatenate(([0.0], np.cumsum(symbol.variance)))
        last = min(end - symbol.start, len(symbol)) - ahead
        at = np.arange(max(WINDOWS), last, spec.step_minutes * 5)
        realised = symbol.realised(horizon_s)[at]
        for length in WINDOWS:
            features = np.full((len(at), len(FEATURES)), np.nan)
            squares = total[at + 1] - total[at + 1 - length]
            features[:, 0] = 0.0
            features[:, 1] = np.sqrt(squares / (length - 1))
            features[:, 2], features[:, 3] = length, 60 * length
            terms.append(window_terms(features))
            targets.append(realised / (PRIOR_LEVEL_RATE * horizon_s))
    line = GammaRegressor(alpha=0.0, max_iter=500, fit_intercept=False)
    return np.asarray(line.fit(np.concatenate(terms), np.concatenate(targets)).coef_)


def fit_parts(
    panel: Sequence[Minutes],
    end: int,
    spec: FitSpec,
    advance: Callable[[int], None] = lambda count: None,
) -> Parts:
    """Fit every horizon; `advance` hears of each that is done."""
    fitted = []
    for horizon in HORIZONS_S:
        fitted.append(fit_horizon(panel, horizon, end, spec))
        advance(1)
    return Parts(
        heads=tuple(horizon.head for horizon in fitted),
        windows=tuple(horizon.window for horizon in fitted),
        laws=tuple(horizon.law for horizon in fitted),
        spike_log_ratios=tuple(horizon.spike_log_ratio for horizon in fitted),
    )
