"""Walk-forward evaluation: fit on the past, forecast a quarter, move on.

Every model is refitted at the same times on the same minutes. The training rows of a fit end one
horizon before it (the purge). There is no random split: windows overlap, so shuffled ones leak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volsvc.compiled import kernel
from volsvc.features.kernels import calibration, realised
from volsvc.features.kernels.laws import (
    HIGH_LEVEL,
    LOW_LEVEL,
    above,
    quantile,
    turbulence_weight,
)
from volsvc.models import HORIZONS_S, BarAdapter, Model
from volsvc.models.base import matrix_of_scales
from volsvc.models.symbol_forecasts import symbol_laws
from volsvc.training.anchors import ANCHORS, least_forecast
from volsvc.training.dataset import Array, Minutes

DAY = 1440
# Days of the trailing quantile that labels spikes, and the minutes between its updates.
THRESHOLD_DAYS = 30
THRESHOLD_STEP = 60
# Rows of one call of the model, a bound on memory.
CHUNK_ROWS = 20_000
# Name of our model in reports.
OURS = "volsvc"


@dataclass(frozen=True)
class WalkForwardResult:
    """Forecasts and outcomes of one symbol at one horizon; arrays have the shape (minutes,).

    `variances` are by model; `probability` (of a spike), `low` and `high` (volatility) are those of
    our model. `log_limit` is ln of the trailing 30-day 90 % quantile of RV, known at forecast time.
    """

    symbol: str
    horizon_s: float
    minute: NDArray[np.int64]
    realised: Array
    variances: Mapping[str, Array]
    log_limit: Array
    probability: Array
    low: Array
    high: Array

    @property
    def spike(self) -> NDArray[np.bool_]:
        """Mask of the minutes whose RV exceeded the limit."""
        return np.asarray(np.log(self.realised) > self.log_limit)


@dataclass(frozen=True)
class Fold:
    """Minutes [start, end) that are forecast by models fitted on the minutes before `start`."""

    start: int
    end: int


def folds(start: int, end: int, refit_minutes: int) -> list[Fold]:
    """Split `start` to `end` into test spans of `refit_minutes`.

    A rest shorter than half of that joins the last span.
    """
    edges = list(range(start, end, refit_minutes))
    if len(edges) > 1 and end - edges[-1] < refit_minutes / 2:
        edges.pop()
    return [Fold(a, b) for a, b in zip(edges, [*edges[1:], end], strict=True)]


def model_variances(model: Model, symbol: Minutes, index: NDArray[np.intp]) -> Array:
    """Return a model's forecasts at the ends of minutes, shape (minutes, len(HORIZONS_S))."""
    model = model if symbol.ticks else BarAdapter(model)
    # A span in which the symbol has no minute is one empty chunk.
    starts = range(0, max(len(index), 1), CHUNK_ROWS)
    chunks = (index[first : first + CHUNK_ROWS] for first in starts)
    parts = [model.variances(matrix_of_scales(symbol.scales[c]), HORIZONS_S) for c in chunks]
    return np.concatenate(parts)


def trailing_log_limit(symbol: Minutes, horizon_s: float, index: NDArray[np.intp]) -> Array:
    """Return ln of the 90 % quantile of RV over the 30 days before each minute, updated hourly."""
    ahead = round(horizon_s / 60)
    realised = symbol.realised(horizon_s)
    blocks = index // THRESHOLD_STEP
    limits = {}
    for block in np.unique(blocks).tolist():
        # RV is known one horizon later.
        last = block * THRESHOLD_STEP - ahead
        window = realised[max(last - THRESHOLD_DAYS * DAY, 0) : max(last, 1)]
        limits[block] = float(np.log(np.nanquantile(window, 0.9)))
    return np.array([limits[block] for block in blocks.tolist()])


def calibrated(
    model: Model, symbol: Minutes, index: NDArray[np.intp], variances: Array, log_limits: Array
) -> tuple[Array, Array, Array]:
    """Return spike probability, low and high volatility, each of the shape of `variances`.

    This is the daemon's own calibration, which starts from the pooled distributions and learns
    minute by minute; `index` rises.
    """
    laws = symbol_laws(model.digest, model.laws if symbol.ticks else model.coarse_laws)
    logs = np.log(variances)
    known = np.empty((3, *logs.shape))
    minutes = np.ascontiguousarray(symbol.minute[index])
    proxies = np.column_stack([symbol.proxy(60.0)[index], symbol.proxy(300.0)[index]])
    past = np.zeros(1, realised.REALISED)[0]
    state = np.zeros(1, calibration.CALIBRATION)[0]
    limits = np.ascontiguousarray(log_limits)
    _calibrate(past, state, laws, minutes, proxies, logs, limits, known)
    probability, low, high = known
    return probability, np.exp((logs + low) / 2), np.exp((logs + high) / 2)


@kernel
def _calibrate(
    past: Any,
    state: Any,
    laws: Any,
    minutes: NDArray[np.int64],
    proxies: Array,
    logs: Array,
    limits: Array,
    known: Array,
) -> None:
    """Write spike probability and the bounds of residuals of forecasts, (3, minutes, horizons).

    `past` (REALISED) and `state` (CALIBRATION) are records of zeros. `proxies` are those of a
    minute's variance at a horizon of one minute and at longer ones.
    """
    realised.start(past)
    calibration.adopt(state, laws[0])
    outcomes = np.empty(logs.shape[1])
    for row in range(len(minutes)):
        # First the residuals that are known by now, then the forecasts that rest on them.
        newest = minutes[row]
        for minute in range(newest - realised.silent_minutes(past, newest, False), newest + 1):
            traded = minute == newest
            one_minute = proxies[row, 0] if traded else 0.0
            variance = proxies[row, 1] if traded else 0.0
            realised.add(past, minute, variance, one_minute, outcomes)
            calibration.add_realised(state, laws[0], minute, outcomes)
        for column in range(logs.shape[1]):
            log_variance, limit = logs[row, column], limits[row, column]
            weight = turbulence_weight(log_variance, limit)
            quantiles = laws[0].quantiles[column]
            calm, turbulent = state.cumulated[column, 0], state.cumulated[column, 1]
            residual = limit - log_variance
            known[0, row, column] = above(quantiles, calm, turbulent, weight, residual)
            known[1, row, column] = quantile(quantiles, calm, turbulent, weight, LOW_LEVEL)
            known[2, row, column] = quantile(quantiles, calm, turbulent, weight, HIGH_LEVEL)
            calibration.issue(state, newest, column, log_variance, weight)


def walk_forward(
    symbol: Minutes,
    spans: Sequence[Fold],
    models: Sequence[Model],
    anchors: Sequence[str] = tuple(ANCHORS),
    train_step: int = 3,
) -> list[WalkForwardResult]:
    """Return the forecasts of one symbol over the spans, a result for each horizon.

    `models` are ours, one for each span; the anchors are fitted at the start of each span on every
    `train_step`-th minute before it.
    """
    span_indices = [_within(symbol, span) for span in spans]
    index = np.concatenate(span_indices)
    limits = np.column_stack([trailing_log_limit(symbol, h, index) for h in HORIZONS_S])
    ours, bounds = [], []
    first = 0
    for model, rows in zip(models, span_indices, strict=True):
        ours.append(model_variances(model, symbol, rows))
        known = limits[first : first + len(rows)]
        bounds.append(calibrated(model, symbol, rows, ours[-1], known))
        first += len(rows)
    variances = np.concatenate(ours)
    probability, low, high = (np.concatenate(part) for part in zip(*bounds, strict=True))
    results = []
    for column, horizon in enumerate(HORIZONS_S):
        realised = symbol.realised(horizon)[index]
        anchored = {name: _anchor(name, symbol, horizon, spans, train_step) for name in anchors}
        # The horizon reaches into a hole, or beyond the end of the recording.
        matured = ~np.isnan(realised)
        results.append(
            WalkForwardResult(
                symbol=symbol.symbol,
                horizon_s=horizon,
                minute=symbol.minute[index][matured],
                realised=realised[matured],
                variances={OURS: variances[matured, column]}
                | {name: values[matured] for name, values in anchored.items()},
                log_limit=limits[matured, column],
                probability=probability[matured, column],
                low=low[matured, column],
                high=high[matured, column],
            )
        )
    return results


def _within(symbol: Minutes, span: Fold) -> NDArray[np.intp]:
    """Return the indices of a span's minutes whose features are known."""
    first = max(span.start - symbol.start, 0)
    index = np.arange(first, max(min(span.end - symbol.start, len(symbol)), first))
    known: NDArray[np.intp] = index[~np.isnan(symbol.scales[index, 0])]
    return known


def _anchor(
    name: str, symbol: Minutes, horizon_s: float, spans: Sequence[Fold], step: int
) -> Array:
    """Return an anchor's forecasts over all spans, refitted for each."""
    parts = []
    # The least forecast is as ours.
    realised, least = symbol.realised(horizon_s), least_forecast(symbol, horizon_s)
    for span in spans:
        # Purged: the last training row's horizon ends at the start of the span.
        last = span.start - symbol.start - round(horizon_s / 60)
        # A week before the first training row, for the longest window; less if there is less.
        train = np.arange(min(7 * DAY, last // 2), last, step)
        train = train[~np.isnan(realised[train] + symbol.scales[train, 0])]
        rows = _within(symbol, span)
        # A span before the symbol began has nothing to fit on.
        if not len(rows):
            continue
        parts.append(np.maximum(ANCHORS[name](symbol, horizon_s, train)[rows], least[rows]))
    return np.concatenate(parts) if parts else np.empty(0)
