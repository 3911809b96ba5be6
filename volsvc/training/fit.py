"""Fit one horizon: the members, and the weights of their blend on later rows.

Everything is fitted to QLIKE. It is half the deviance of the gamma distribution, so standard gamma
losses fit it directly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import GammaRegressor

from volsvc.features import SCALE_NAMES
from volsvc.models.heads import Head, Heads, level_variance, variance_over_range
from volsvc.models.kernels.heads import CLIP, MEMBERS, inputs, mixture_terms, weighted_sums
from volsvc.models.kernels.trees import MAX_LEAVES
from volsvc.models.trees import Forest
from volsvc.training.dataset import Array, Minutes, TrainingError

# Least target: gamma losses need positive ones.
MIN_RATIO = 1e-6
# Least `age` of a training row, a quarter of an hour, and the one from which on a row is no longer
# young, a week.
MIN_AGE = math.log1p(15)
GROWN_AGE = math.log1p(10_079)
_AGE_COLUMN = SCALE_NAMES.index("age")


@dataclass(frozen=True)
class FitSpec:
    """Settings of a fit; docs/model_card.md says how the defaults were chosen."""

    # The facts in an artefact record these names.
    step_minutes: int = 4
    # Rows of the usual engine for one of the engine that is restarted (`Minutes.young`).
    young_step: int = 4
    burn_in_minutes: int = 30 * 1440
    # Greatest share of a recording that is left out at its start, while the slow level forms.
    burn_in_share: float = 0.2
    trees: int = 300
    learning_rate: float = 0.05
    least_leaf: int = 500
    l2: float = 10.0
    feature_share: float = 0.5
    linear_penalty: float = 1e-4
    # Share of the rows, the latest, that the weights of the blend are fitted to.
    held_out: float = 0.4
    seed: int = 7


@dataclass(frozen=True)
class Sample:
    """Training rows: features, realised variance over the horizon, and minute of each."""

    scales: Array
    realised: Array
    minute: NDArray[np.int64]

    def between(self, start: float, end: float) -> Sample:
        """Return the rows of minutes in [start, end)."""
        keep = (self.minute >= start) & (self.minute < end)
        return Sample(self.scales[keep], self.realised[keep], self.minute[keep])

    def grown(self) -> Sample:
        """Return the rows of symbols that were seen for a week; all rows if there are none."""
        keep = self.scales[:, _AGE_COLUMN] >= GROWN_AGE
        keep = keep if keep.any() else np.full(len(keep), True)
        return Sample(self.scales[keep], self.realised[keep], self.minute[keep])


def sample(
    panel: Sequence[Minutes], horizon_s: float, end: int, spec: FitSpec, start: int = 0
) -> Sample:
    """Return the training rows of a fit at the minute `end`: their horizons end before it."""
    ahead = round(horizon_s / 60)
    parts = []
    for symbol in panel:
        burn_in = min(spec.burn_in_minutes, round(len(symbol) * spec.burn_in_share))
        first = max(burn_in, start - symbol.start)
        last = min(end - symbol.start - ahead, len(symbol) - ahead)
        realised = symbol.realised(horizon_s)
        for scales, step in ((symbol.scales, 1), (symbol.young, spec.young_step)):
            index = np.arange(first, max(last, first), spec.step_minutes * step)
            rows = scales[index]
            # NaN, as of minutes without a trade in recordings of ticks, compares as false.
            known = (rows[:, _AGE_COLUMN] >= MIN_AGE) & ~np.isnan(realised[index])
            rows, index = rows[known], index[known]
            target = realised[index]
            if symbol.ticks and ahead == 1:
                # As from bars: the head's unit one minute ahead is the range.
                target = target / variance_over_range(rows)
            parts.append((rows, target, symbol.minute[index]))
    scales, realised, minute = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Sample(scales, realised, minute)


class HeldOut(NamedTuple):
    """The later rows, and ln of the forecasts for them by members fitted without them."""

    rows: Sample
    log_forecast: Array


def fit_head(rows: Sample, horizon_s: float, spec: FitSpec) -> tuple[Head, HeldOut]:
    """Fit the members on all rows, and the blend's weights on members of the earlier rows.

    Weights fitted to rows that the members have seen would favour the member that overfits most.
    Raises TrainingError if there are too few rows.
    """
    # Length in time says little: a recording of ticks may be silent for most of its minutes.
    if len(rows.minute) < 2 * spec.least_leaf:
        raise TrainingError(
            f"the recordings have {len(rows.minute)} minutes to fit {horizon_s:g} s on, one in "
            f"{spec.step_minutes}; it takes {2 * spec.least_leaf}"
        )
    # By rows, not by years: recordings may lie years apart.
    cut = float(np.quantile(rows.minute, 1 - spec.held_out))
    # Purged: the horizon of an earlier row ends before the first later one.
    earlier = rows.between(-math.inf, cut - round(horizon_s / 60))
    later = rows.between(cut, math.inf).grown()
    early_head = _fit_members(earlier, horizon_s, spec)
    members = Heads([early_head]).members(later.scales, 1)
    ratio = later.realised / level_variance(later.scales, horizon_s)
    early_head = replace(early_head, weights=blend_weights(members[:, 0], ratio))
    blend = Heads([early_head]).blend(members, later.scales)[:, 0]
    held_out = HeldOut(later, np.log(blend))
    return replace(_fit_members(rows, horizon_s, spec), weights=early_head.weights), held_out


def _fit_members(rows: Sample, horizon_s: float, spec: FitSpec) -> Head:
    ratio = np.maximum(rows.realised / level_variance(rows.scales, horizon_s), MIN_RATIO)
    terms = mixture_terms(rows.scales)
    mixture_weights = qlike_mixture(terms, ratio)
    mixture = weighted_sums(terms, mixture_weights)
    columns = inputs(rows.scales, mixture[:, None])
    centre, scale = columns.mean(0), columns.std(0) + 1e-9
    linear = GammaRegressor(alpha=spec.linear_penalty, max_iter=400)
    linear.fit(np.clip((columns - centre) / scale, -CLIP, CLIP), ratio)
    return Head(
        horizon_s=horizon_s,
        mixture=mixture_weights,
        centre=centre,
        scale=scale,
        slope=linear.coef_,
        intercept=float(linear.intercept_),
        forest=Forest.joined(
            [
                _fit_trees(columns, ratio, spec, spec.seed),
                _fit_trees(columns, ratio / mixture, spec, spec.seed + 1),
            ],
            [range(columns.shape[1])] * 2,
        ),
        weights=np.full(len(MEMBERS), 1 / len(MEMBERS)),
    )


def _fit_trees(columns: Array, ratio: Array, spec: FitSpec, seed: int) -> Forest:
    model = HistGradientBoostingRegressor(
        loss="gamma",
        learning_rate=spec.learning_rate,
        max_iter=spec.trees,
        max_leaf_nodes=MAX_LEAVES,
        min_samples_leaf=spec.least_leaf,
        l2_regularization=spec.l2,
        max_features=spec.feature_share,
        early_stopping=False,
        random_state=seed,
    )
    return forest_of(model.fit(columns, np.maximum(ratio, MIN_RATIO)))


def forest_of(model: HistGradientBoostingRegressor) -> Forest:
    """Return the trees of a fitted scikit-learn model as plain arrays."""
    # The nodes have no public interface; a test compares the result with the model's own predict.
    trees = [stage[0].nodes for stage in model._predictors]  # noqa: SLF001
    shape = (len(trees), 2 * MAX_LEAVES - 1)
    # Single precision halves the artefact; the rounded trees are the model from here on.
    arrays: dict[str, NDArray[Any]] = {
        "feature": np.full(shape, -1, dtype=np.int16),
        "threshold": np.zeros(shape, dtype=np.float32),
        "left": np.zeros(shape, dtype=np.uint8),
        "right": np.zeros(shape, dtype=np.uint8),
        "value": np.zeros(shape, dtype=np.float32),
    }
    for row, tree in enumerate(trees):
        size, split = len(tree), tree["is_leaf"] == 0
        arrays["feature"][row, :size] = np.where(split, tree["feature_idx"], -1)
        arrays["threshold"][row, :size] = np.where(split, tree["num_threshold"], 0.0)
        arrays["left"][row, :size] = tree["left"]
        arrays["right"][row, :size] = tree["right"]
        arrays["value"][row, :size] = np.where(split, 0.0, tree["value"])
    offset = float(np.ravel(model._baseline_prediction)[0])  # noqa: SLF001
    return Forest(arrays, [offset])


def qlike_mixture(terms: Array, ratio: Array) -> Array:
    """Return the weights >= 0 of columns that minimise QLIKE; shape (columns,)."""

    def loss(log_weights: Array) -> tuple[float, Array]:
        weights = np.exp(log_weights)
        forecast = terms @ weights
        value = float(np.mean(ratio / forecast + np.log(forecast)))
        slope = ((1 / forecast - ratio / forecast**2) @ terms) / len(ratio)
        return value, slope * weights

    # Logarithms keep the weights positive; those near the lower bound are set to 0.
    count = terms.shape[1]
    start = np.log(np.full(count, 1 / count))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-14, 2)] * count)
    weights = np.exp(found.x)
    return np.where(weights < 1e-5, 0.0, weights)


def blend_weights(members: Array, ratio: Array) -> Array:
    """Return the weights of members that minimise QLIKE; they are >= 0 and sum to 1."""

    def loss(logits: Array) -> tuple[float, Array]:
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        forecast = members @ weights
        value = float(np.mean(ratio / forecast + np.log(forecast)))
        slope = ((1 / forecast - ratio / forecast**2) @ members) / len(ratio)
        return value, weights * (slope - weights @ slope)

    found = minimize(loss, np.zeros(members.shape[1]), jac=True, method="L-BFGS-B")
    best = np.exp(found.x - found.x.max())
    return np.asarray(best / best.sum())
