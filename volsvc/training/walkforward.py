"""Walk-forward evaluation: fit on the past, forecast a quarter, move on.

Every model is refitted at the same times on the same minutes; what a fit at a time may know ends
one horizon before it (the purge). There is no random split: windows overlap, shuffled they leak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volsvc.features import HORIZON_MINUTES, Calibration, RealisedVariances, storm_weight
from volsvc.models import HORIZONS_S, BarAdapter, Model
from volsvc.models.base import matrix_of_scales
from volsvc.models.heads import LEAST_OF_LEVEL, level_variance
from volsvc.training.anchors import ANCHORS
from volsvc.training.dataset import Array, Minutes

DAY = 1440
QUARTER = 91 * DAY
THRESHOLD_DAYS = 30
# Minutes between updates of the trailing quantile that labels spikes.
THRESHOLD_STEP = 60
CHUNK_ROWS = 20_000
OURS = "volsvc"


@dataclass(frozen=True)
class Outlook:
    """What was forecast for one symbol at one horizon, and what came; arrays (minutes,).

    `variances` are by model; `probability`, `low` and `high` (volatility) are ours alone.
    `log_limit` is ln of the trailing 30-day 90 % quantile of RV, known at forecast time.
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
        """Whether RV exceeded the limit."""
        return np.asarray(np.log(self.realised) > self.log_limit)


@dataclass(frozen=True)
class Fold:
    """Minutes [start, end) that are forecast by what was fitted on the minutes before `start`."""

    start: int
    end: int


def folds(start: int, end: int, refit_minutes: int) -> list[Fold]:
    """Consecutive test spans from `start` to `end`, none shorter than half of `refit_minutes`."""
    edges = list(range(start, end, refit_minutes))
    if len(edges) > 1 and end - edges[-1] < refit_minutes / 2:
        edges.pop()
    return [Fold(a, b) for a, b in zip(edges, [*edges[1:], end], strict=True)]


def model_variances(model: Model, symbol: Minutes, at: NDArray[np.intp]) -> Array:
    """A model's forecasts at the ends of minutes, shape (minutes, len(HORIZONS_S))."""
    model = model if symbol.ticks else BarAdapter(model)
    chunks = (at[first : first + CHUNK_ROWS] for first in range(0, len(at), CHUNK_ROWS))
    parts = [model.variances(matrix_of_scales(symbol.scales[c]), HORIZONS_S) for c in chunks]
    return np.concatenate(parts)


def trailing_log_limit(symbol: Minutes, horizon_s: float, at: NDArray[np.intp]) -> Array:
    """Ln of the 90 % quantile of RV over the 30 days before each minute, renewed every hour."""
    ahead = round(horizon_s / 60)
    realised = symbol.realised(horizon_s)
    blocks = at // THRESHOLD_STEP
    limits = {}
    for block in np.unique(blocks).tolist():
        last = block * THRESHOLD_STEP - ahead
        window = realised[max(last - THRESHOLD_DAYS * DAY, 0) : max(last, 1)]
        limits[block] = float(np.log(np.quantile(window, 0.9)))
    return np.array([limits[block] for block in blocks.tolist()])


def calibrated(
    model: Model, symbol: Minutes, at: NDArray[np.intp], variances: Array, log_limits: Array
) -> tuple[Array, Array, Array]:
    """Spike probability, low and high volatility, each of the shape of `variances`.

    The daemon's own calibration, minute by minute from the pooled law on; `at` rise.
    """
    laws = model.laws if symbol.ticks else model.coarse_laws
    calibration = Calibration(model.digest, laws)
    outcomes = RealisedVariances()
    logs = np.log(variances)
    residual = log_limits - logs
    storms = storm_weight(logs, log_limits)
    probability, low, high = (np.empty_like(logs) for _ in range(3))
    variance, span = symbol.proxy(300.0)[at].tolist(), symbol.proxy(60.0)[at].tolist()
    for row, minute in enumerate(symbol.minute[at].tolist()):
        for settled in outcomes.close(minute, variance[row], span[row], gap=False):
            calibration.settle(settled)
        for column in range(len(HORIZON_MINUTES)):
            law = calibration.laws(column).mixed(float(storms[row, column]))
            low[row, column], _, high[row, column] = law.bounds()
            probability[row, column] = law.above(residual[row, column])
        calibration.issue(minute, logs[row].tolist(), storms[row].tolist())
    return probability, np.exp((logs + low) / 2), np.exp((logs + high) / 2)


def walk_forward(
    symbol: Minutes,
    spans: Sequence[Fold],
    models: Sequence[Model],
    anchors: Sequence[str] = tuple(ANCHORS),
    train_step: int = 3,
) -> list[Outlook]:
    """Forecasts of one symbol at every horizon over the spans: ours, and the anchors'.

    `models` are ours, one a span; the anchors are fitted at the start of each span on every
    `train_step`-th minute before it.
    """
    places = [_within(symbol, span) for span in spans]
    at = np.concatenate(places)
    limits = np.column_stack([trailing_log_limit(symbol, h, at) for h in HORIZONS_S])
    ours, bounds = [], []
    first = 0
    for model, rows in zip(models, places, strict=True):
        ours.append(model_variances(model, symbol, rows))
        known = limits[first : first + len(rows)]
        bounds.append(calibrated(model, symbol, rows, ours[-1], known))
        first += len(rows)
    variances = np.concatenate(ours)
    probability, low, high = (np.concatenate(part) for part in zip(*bounds, strict=True))
    result = []
    for column, horizon in enumerate(HORIZONS_S):
        realised = symbol.realised(horizon)[at]
        anchored = {name: _anchor(name, symbol, horizon, spans, train_step) for name in anchors}
        over = ~np.isnan(realised)
        result.append(
            Outlook(
                symbol=symbol.symbol,
                horizon_s=horizon,
                minute=symbol.minute[at][over],
                realised=realised[over],
                variances={OURS: variances[over, column]}
                | {name: values[over] for name, values in anchored.items()},
                log_limit=limits[over, column],
                probability=probability[over, column],
                low=low[over, column],
                high=high[over, column],
            )
        )
    return result


def _within(symbol: Minutes, span: Fold) -> NDArray[np.intp]:
    """The minutes of a span whose features are known."""
    first = max(span.start - symbol.start, 0)
    at = np.arange(first, max(min(span.end - symbol.start, len(symbol)), first))
    known: NDArray[np.intp] = at[~np.isnan(symbol.scales[at, 0])]
    return known


def _anchor(
    name: str, symbol: Minutes, horizon_s: float, spans: Sequence[Fold], step: int
) -> Array:
    parts = []
    for span in spans:
        last = span.start - symbol.start - round(horizon_s / 60)
        # A week behind the first training row, for the longest window; less where there is less.
        train = np.arange(min(7 * DAY, last // 2), last, step)
        rows = _within(symbol, span)
        # The same least forecast as ours: without it a single quiet hour decides an anchor's mean.
        least = LEAST_OF_LEVEL * level_variance(symbol.scales[rows], horizon_s)
        parts.append(np.maximum(ANCHORS[name](symbol, horizon_s, train)[rows], least))
    return np.concatenate(parts)
