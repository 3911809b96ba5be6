"""From data sets to a model: every horizon fitted, with the laws of what it gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import GammaRegressor

from volsvc.features import FLOOR_PER_MINUTE, SCALE_NAMES, ResidualLaws, storm_weight
from volsvc.models.base import FEATURES, HORIZONS_S, PRIOR_LEVEL_RATE, matrix_of_scales
from volsvc.models.baseline import Baseline
from volsvc.models.heads import Head, variance_over_range
from volsvc.models.ml import Parts, window_terms
from volsvc.training.dataset import Array, Minutes
from volsvc.training.fit import FitSpec, HeldOut, Sample, fit_head, sample
from volsvc.training.scores import mincer_zarnowitz, qlike

# Lengths in minutes of the windows that the line for posted rows is fitted on.
WINDOWS = (5, 15, 50, 100)
SPIKE_QUANTILE = 0.9
_LEVEL_AT = SCALE_NAMES.index("level")


@dataclass(frozen=True)
class Horizon:
    """What was fitted for one horizon."""

    head: Head
    window: Array
    laws: ResidualLaws
    spike_log_ratio: float
    held_out: HeldOut


class Fitted(NamedTuple):
    """A fitted model, with what it did on the rows held out while its weights were chosen.

    `metrics` are by horizon (in whole seconds, as text) and variant.
    """

    parts: Parts
    held_out: tuple[HeldOut, ...]
    metrics: Mapping[str, Mapping[str, Mapping[str, float]]]


def fit_horizon(panel: Sequence[Minutes], horizon_s: float, end: int, spec: FitSpec) -> Horizon:
    """Fit one horizon on everything that is known at the minute `end` (since the epoch)."""
    rows = sample(panel, horizon_s, end, spec)
    head, held_out = fit_head(rows, horizon_s, spec)
    ratio = np.log(rows.realised) - _log_level(rows, horizon_s)
    spike = float(np.quantile(ratio, SPIKE_QUANTILE))
    storm = storm_weight(held_out.log_forecast, _log_level(held_out.rows, horizon_s) + spike)
    residuals = np.log(held_out.rows.realised) - held_out.log_forecast
    return Horizon(
        head=head,
        window=_fit_window(panel, horizon_s, end, spec),
        laws=ResidualLaws.of_residuals(residuals, storm),
        spike_log_ratio=spike,
        held_out=held_out,
    )


def _log_level(rows: Sample, horizon_s: float) -> Array:
    level = np.maximum(rows.scales[:, _LEVEL_AT], FLOOR_PER_MINUTE / 60)
    return np.asarray(np.log(level * horizon_s))


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
) -> Fitted:
    """Fit every horizon; `advance` hears of each that is done."""
    fitted = []
    for horizon in HORIZONS_S:
        fitted.append(fit_horizon(panel, horizon, end, spec))
        advance(1)
    parts = Parts(
        heads=tuple(horizon.head for horizon in fitted),
        windows=tuple(horizon.window for horizon in fitted),
        laws=tuple(horizon.laws for horizon in fitted),
        spike_log_ratios=tuple(horizon.spike_log_ratio for horizon in fitted),
    )
    held_out = tuple(horizon.held_out for horizon in fitted)
    metrics = {
        f"{horizon:g}": _metrics(kept, index)
        for index, (horizon, kept) in enumerate(zip(HORIZONS_S, held_out, strict=True))
    }
    return Fitted(parts, held_out, metrics)


def _metrics(kept: HeldOut, index: int) -> Mapping[str, Mapping[str, float]]:
    """QLIKE of ours and of the baseline on the held-out rows of one horizon."""
    matrix = matrix_of_scales(kept.rows.scales)
    baseline = Baseline().variances(matrix, HORIZONS_S)[:, index]
    if index == 0:
        baseline = baseline / variance_over_range(kept.rows.scales)
    forecasts = {"ml": np.exp(kept.log_forecast), "baseline": baseline}
    realised = kept.rows.realised
    return {
        variant: {
            "held_out_qlike": float(qlike(realised, forecast).mean()),
            "held_out_mz_r2": mincer_zarnowitz(realised, forecast).r2,
        }
        for variant, forecast in forecasts.items()
    }
