"""Fit a model to data sets: every horizon, with the distributions of its residuals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import GammaRegressor

from volsvc.features import FLOOR_PER_MINUTE, SCALE_NAMES, ResidualLaws
from volsvc.features.kernels.laws import turbulence_weights
from volsvc.models.base import matrix_of_scales
from volsvc.models.baseline import Baseline
from volsvc.models.columns import FEATURES, HORIZONS_S, PRIOR_LEVEL_RATE
from volsvc.models.heads import Head, variance_over_range
from volsvc.models.kernels.windows import window_terms
from volsvc.models.ml import MlParameters
from volsvc.scoring.past_outcomes import qlike
from volsvc.training.dataset import Array, Minutes
from volsvc.training.fit import FitSpec, HeldOut, Sample, fit_head, sample
from volsvc.training.scores import mincer_zarnowitz

# Lengths in minutes of the windows that the fit for posted rows is made on; the shortest and the
# longest are MIN_SPAN_S and MAX_SPAN_S of models/kernels/windows.py.
WINDOWS = (5, 15, 50, 100)
SPIKE_QUANTILE = 0.9
_LEVEL_COLUMN = SCALE_NAMES.index("level")


@dataclass(frozen=True)
class FittedHorizon:
    """The parameters fitted for one horizon; the fields are those of MlParameters."""

    head: Head
    window: Array
    laws: ResidualLaws
    spike_log_ratio: float
    held_out: HeldOut


class FittedModel(NamedTuple):
    """A fitted model, with its forecasts and metrics on the rows that its members had not seen.

    `metrics` are by horizon (in whole seconds, as text) and variant.
    """

    parameters: MlParameters
    held_out: tuple[HeldOut, ...]
    metrics: Mapping[str, Mapping[str, Mapping[str, float]]]


def fit_horizon(
    panel: Sequence[Minutes], horizon_s: float, end: int, spec: FitSpec
) -> FittedHorizon:
    """Fit one horizon on everything that is known at the minute `end` (since the epoch)."""
    rows = sample(panel, horizon_s, end, spec)
    head, held_out = fit_head(rows, horizon_s, spec)
    ratio = np.log(rows.realised) - _log_level(rows, horizon_s)
    spike = float(np.quantile(ratio, SPIKE_QUANTILE))
    turbulence = turbulence_weights(
        held_out.log_forecast, _log_level(held_out.rows, horizon_s) + spike
    )
    residuals = np.log(held_out.rows.realised) - held_out.log_forecast
    return FittedHorizon(
        head=head,
        window=_fit_window(panel, horizon_s, end, spec),
        laws=ResidualLaws.of_residuals(residuals, turbulence),
        spike_log_ratio=spike,
        held_out=held_out,
    )


def _log_level(rows: Sample, horizon_s: float) -> Array:
    level = np.maximum(rows.scales[:, _LEVEL_COLUMN], FLOOR_PER_MINUTE / 60)
    return np.asarray(np.log(level * horizon_s))


def _fit_window(panel: Sequence[Minutes], horizon_s: float, end: int, spec: FitSpec) -> Array:
    """Return the coefficients of `window_terms`: a gamma regression on windows of 1-minute bars."""
    terms, targets = [], []
    ahead = round(horizon_s / 60)
    for symbol in panel:
        total = np.concatenate(([0.0], np.cumsum(symbol.variance)))
        last = min(end - symbol.start, len(symbol)) - ahead
        index = np.arange(max(WINDOWS), last, spec.step_minutes * 5)
        realised = symbol.realised(horizon_s)[index]
        observed = ~np.isnan(realised)
        index, realised = index[observed], realised[observed]
        for length in WINDOWS:
            features = np.full((len(index), len(FEATURES)), np.nan)
            squares = total[index + 1] - total[index + 1 - length]
            # A data set has no mean returns.
            features[:, 0] = 0.0
            features[:, 1] = np.sqrt(squares / (length - 1))
            features[:, 2], features[:, 3] = length, 60 * length
            terms.append(window_terms(features))
            targets.append(realised / (PRIOR_LEVEL_RATE * horizon_s))
    line = GammaRegressor(alpha=0.0, max_iter=500, fit_intercept=False)
    return np.asarray(line.fit(np.concatenate(terms), np.concatenate(targets)).coef_)


def fit_parameters(
    panel: Sequence[Minutes],
    end: int,
    spec: FitSpec,
    advance: Callable[[int], None] = lambda count: None,
) -> FittedModel:
    """Fit every horizon; `advance` is called with 1 after each."""
    fitted = []
    for horizon in HORIZONS_S:
        fitted.append(fit_horizon(panel, horizon, end, spec))
        advance(1)
    parameters = MlParameters(
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
    return FittedModel(parameters, held_out, metrics)


def _metrics(kept: HeldOut, index: int) -> Mapping[str, Mapping[str, float]]:
    """Return QLIKE of our model and of the baseline on the held-out rows of one horizon."""
    matrix = matrix_of_scales(kept.rows.scales)
    baseline = Baseline().variances(matrix, HORIZONS_S)[:, index]
    # The target one minute ahead is the range.
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
