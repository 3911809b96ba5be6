"""Calibration of forecasts: the laws of each symbol's own residuals under each model.

The laws of a symbol start as the pooled laws of the model and move with exponential forgetting. So
a new symbol has the pooled laws and an old one its own. Everything moves with event time: a
forecast is issued at the end of each minute with trades, and its residual is known when the
minutes of its horizon are over.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from volsvc.compiled import kernel, record_type
from volsvc.domain import HORIZON_MINUTES
from volsvc.features.kernels.laws import bin_of
from volsvc.features.residual_laws import LEVELS
from volsvc.scoring.scores import DIGEST_BYTES, same_digest

HORIZONS: Final = len(HORIZON_MINUTES)
# Number of residuals, one per minute, that a symbol's own law remembers.
MEMORY: Final = 3000.0
# Number of residuals that the pooled law counts for at each horizon; more at long horizons, whose
# outcomes overlap and so carry less information each.
PRIOR = np.array([200.0 * math.sqrt(minutes) for minutes in HORIZON_MINUTES])

_MINUTES = np.array(HORIZON_MINUTES)
# Pending forecasts of all horizons lie one after another, each by minute modulo horizon.
_FIRST = np.cumsum([0, *HORIZON_MINUTES[:-1]])
_PENDING: Final = sum(HORIZON_MINUTES)

# The pooled laws of a model: for each horizon the quantiles of its residuals, and the probabilities
# up to these in calm and in turbulence. `digest` is the model's.
POOLED_LAWS = record_type(
    [
        ("digest", "u1", (DIGEST_BYTES,)),
        ("quantiles", "f8", (HORIZONS, len(LEVELS))),
        ("cumulated", "f8", (HORIZONS, 2, len(LEVELS))),
    ]
)
# The state under one model. `minute` is the newest that was added or forecast at, -1 before it;
# `counts` are weights of the residuals behind each law.
CALIBRATION = record_type(
    [
        ("digest", "u1", (DIGEST_BYTES,)),
        ("minute", "i8"),
        ("issued", "f8", (_PENDING,)),
        ("turbulence", "f8", (_PENDING,)),
        ("counts", "f8", (HORIZONS, 2)),
        ("cumulated", "f8", (HORIZONS, 2, len(LEVELS))),
    ]
)


@kernel
def adopt(calibration: Any, pooled: Any) -> None:
    """Start anew from the pooled laws if the state is of another model."""
    # Residuals say nothing of the errors of another model.
    if same_digest(calibration.digest, pooled.digest):
        return
    calibration.digest[:] = pooled.digest
    calibration.minute = -1
    calibration.issued[:] = math.nan
    calibration.turbulence[:] = 0.0
    calibration.counts[:] = 0.0
    calibration.cumulated[:] = pooled.cumulated


@kernel
def add_realised(calibration: Any, pooled: Any, minute: int, log_realised: Any) -> None:
    """Learn from the forecasts whose horizons end with a minute.

    `log_realised` is ln RV over each horizon up to its end, NaN if not observed in full.
    """
    _drop_overdue(calibration, minute)
    for index in range(HORIZONS):
        slot = _FIRST[index] + minute % _MINUTES[index]
        residual = log_realised[index] - calibration.issued[slot]
        calibration.issued[slot] = math.nan
        if not math.isnan(residual):
            place = bin_of(pooled.quantiles[index], residual)
            _learn(calibration, index, place, calibration.turbulence[slot])


@kernel
def _drop_overdue(calibration: Any, minute: int) -> None:
    """Drop the forecasts whose horizons ended with a minute that was never added."""
    # A gap of the feed skips minutes, and so does a model that was not held for a while. Their
    # slots would be read with the minutes of another horizon.
    if calibration.minute >= 0:
        for index in range(HORIZONS):
            horizon = _MINUTES[index]
            for skipped in range(max(calibration.minute + 1, minute - horizon), minute):
                calibration.issued[_FIRST[index] + skipped % horizon] = math.nan
    calibration.minute = minute


@kernel
def _learn(calibration: Any, index: int, place: int, turbulence: float) -> None:
    for law in range(2):
        weight = turbulence if law == 1 else 1.0 - turbulence
        if weight == 0.0:
            continue
        # A plain mean with the pooled law until MEMORY is full, then forgetting.
        calibration.counts[index, law] += weight
        step = weight / min(PRIOR[index] + calibration.counts[index, law], MEMORY)
        cumulated = calibration.cumulated[index, law]
        for level in range(len(cumulated)):
            cumulated[level] *= 1 - step
            if level > place:
                cumulated[level] += step


@kernel
def issue(
    calibration: Any, minute: int, index: int, log_variance: float, turbulence: float
) -> None:
    """Keep the forecast made at the end of a minute for one horizon.

    The realised variances of the minute must have been added before.
    """
    calibration.minute = minute
    slot = _FIRST[index] + minute % _MINUTES[index]
    calibration.issued[slot] = log_variance
    calibration.turbulence[slot] = turbulence


@kernel
def is_own(calibration: Any) -> bool:
    """Return True if the symbol's own residuals outweigh the pooled law at every horizon."""
    for index in range(HORIZONS):
        if calibration.counts[index, 0] + calibration.counts[index, 1] < PRIOR[index]:
            return False
    return True
