"""Variances of posted windows of returns, and those of the baseline."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from volsvc.compiled import kernel
from volsvc.features import SCALE_NAMES
from volsvc.models.columns import LEVEL, PRIOR_LEVEL_RATE, SCALES_FROM, SEASON, SECONDS_PER_TICK
from volsvc.models.kernels.bounds import HORIZONS, at_least, clamped, level_variance

Array = NDArray[np.float64]

# Spans of the windows that the window fit has seen; others are read as the nearest of these.
MIN_SPAN_S: Final = 300.0
MAX_SPAN_S: Final = 6000.0
# Regressors of the window fit.
TERMS: Final = 4
# The best of the engine's half-lives at each horizon, on the training bars (`volsvc evaluate`).
HALF_LIVES: Final = ("variance_10m", "variance_10m", "variance_30m", "variance_90m")

_HALF_LIFE_COLUMNS = np.array([SCALE_NAMES.index(name) for name in HALF_LIVES])


@kernel
def window_rate(row: Array) -> float:
    """Return the variance per second of a window: squared returns over the covered time.

    sum r**2 = (n - 1) std**2 + n mean**2; without a span each return counts as the median gap.
    """
    mean, std, n, span_s = row[0], row[1], row[2], row[3]
    covered = span_s if span_s > 0 else n * SECONDS_PER_TICK
    squares: float = at_least(n - 1, 1.0) * (std * std) + n * (mean * mean)
    return squares / at_least(covered, SECONDS_PER_TICK)


@kernel
def fill_window_terms(row: Array, terms: Array) -> None:
    """Write the regressors of the window fit, of a window.

    They are 1, the window's variance rate relative to PRIOR_LEVEL_RATE, its product with the span,
    and the span; rate and span in logarithms.
    """
    n, span_s = row[2], row[3]
    covered = n * SECONDS_PER_TICK if math.isnan(span_s) else span_s
    span = math.log(clamped(covered, MIN_SPAN_S, MAX_SPAN_S) / MIN_SPAN_S)
    rate = math.log(clamped(window_rate(row), 1e-12, 1.0) / PRIOR_LEVEL_RATE)
    terms[0], terms[1], terms[2], terms[3] = 1.0, rate, rate * span, span


@kernel
def window_terms(features: Array) -> Array:
    """Return `fill_window_terms` of each row: shape (rows, TERMS)."""
    terms = np.empty((len(features), TERMS))
    for row in range(len(features)):
        fill_window_terms(features[row], terms[row])
    return terms


@kernel
def posted_variances(features: Array, windows: Array) -> tuple[Array, int]:
    """Return the variances of the rows without a level, and the number of the other rows.

    `windows` are the coefficients of a horizon each, (count, TERMS). The shape is (rows, count);
    rows of live symbols are left as they are.
    """
    found = np.empty((len(features), len(windows)))
    terms = np.empty(TERMS)
    live = 0
    for row in range(len(features)):
        if not math.isnan(features[row, SCALES_FROM + LEVEL]):
            live += 1
            continue
        fill_window_terms(features[row], terms)
        for index in range(len(windows)):
            total = 0.0
            for term in range(TERMS):
                total += terms[term] * windows[index, term]
            found[row, index] = math.exp(total) * PRIOR_LEVEL_RATE * HORIZONS[index]
    return found, live


@kernel
def baseline_variances(features: Array, count: int) -> Array:
    """Return the baseline's variances over the first `count` horizons: (rows, count).

    Those of a live symbol are its level, daily pattern and average of HALF_LIVES; those of a posted
    window its own rate.
    """
    found = np.empty((len(features), count))
    for row in range(len(features)):
        scales = features[row, SCALES_FROM:]
        live = not math.isnan(scales[LEVEL])
        rate = 0.0 if live else window_rate(features[row])
        for index in range(count):
            horizon_s = HORIZONS[index]
            if live:
                average = math.exp(scales[_HALF_LIFE_COLUMNS[index]])
                found[row, index] = level_variance(scales, SEASON + index, horizon_s) * average
            else:
                found[row, index] = rate * horizon_s
    return found
