"""Realised variance over each horizon, minute by minute, and its trailing quantile.

Everything moves with event time, one step per minute.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from volsvc.compiled import kernel, record_type
from volsvc.domain import HORIZON_MINUTES
from volsvc.features.kernels.minutes import FLOOR_PER_MINUTE

HORIZONS: Final = len(HORIZON_MINUTES)
MAX_HORIZON: Final = HORIZON_MINUTES[-1]
_MINUTES = np.array(HORIZON_MINUTES)

# Quantile of realised variance above which an outcome is a spike.
SPIKE_QUANTILE: Final = 0.9
# Weights halve in 10.4 days, so that their mean age is that of a window of 30 days.
DECAY: Final = 2.0 ** (-1 / (10.4 * 1440))
# Width of a bin in log variance. The first bin is that of the floor of a minute, the last that of
# an hour in which the price rises or falls a thousandfold and more.
BIN: Final = 0.1
FIRST_BIN: Final = math.floor(math.log(FLOOR_PER_MINUTE) / BIN)
BINS: Final = 240
# Weights are rescaled when the newest exceeds this, long before they could overflow.
MAX_GAIN: Final = 1e9

# Weights by bin of ln RV; a growing `gain` of new values is equivalent to a decay of all old ones.
TRAILING_QUANTILE = record_type([("count", "i8"), ("gain", "f8"), ("weights", "f8", (BINS,))])
# A ring of the last hour, by minute modulo its length, and for each of HORIZON_MINUTES the trailing
# quantile of ln RV, NaN before the first. `minute` is -1 before the first minute.
REALISED = record_type(
    [
        ("minute", "i8"),
        ("observed", "i8"),
        ("variances", "f8", (MAX_HORIZON,)),
        ("log_thresholds", "f8", (HORIZONS,)),
        ("quantiles", TRAILING_QUANTILE, (HORIZONS,)),
    ]
)


@kernel
def start(realised: Any) -> None:
    """Make a record of zeros a symbol without minutes."""
    realised.minute = -1
    realised.log_thresholds[:] = math.nan
    for index in range(HORIZONS):
        realised.quantiles[index].gain = 1.0


@kernel
def silent_minutes(realised: Any, minute: int, gap: bool) -> int:
    """Move on to a minute with trades, and return the number of silent ones before it to add.

    Horizons that reach into a gap of the feed are not observed.
    """
    silent = 0
    if gap or realised.minute < 0 or minute - realised.minute > MAX_HORIZON:
        realised.observed = 0
    else:
        silent = max(minute - realised.minute - 1, 0)
    realised.minute = minute
    return silent


@kernel
def add(realised: Any, minute: int, variance: float, one_minute: float, logs: Any) -> None:
    """Add a minute, and write ln RV over each horizon up to its end; NaN if not observed in full.

    `variance` is its realised variance, and `one_minute` the proxy of it at a horizon of one
    minute.
    """
    realised.variances[minute % MAX_HORIZON] = variance
    realised.observed = min(realised.observed + 1, MAX_HORIZON)
    for index in range(HORIZONS):
        horizon = _MINUTES[index]
        if realised.observed < horizon:
            logs[index] = math.nan
            continue
        total = one_minute
        if horizon > 1:
            # Summed each time: a running sum would drift, and depend on its past.
            total = 0.0
            for back in range(horizon):
                total += realised.variances[(minute - back) % MAX_HORIZON]
        logs[index] = math.log(max(total, FLOOR_PER_MINUTE * horizon))
        quantile = realised.quantiles[index]
        add_value(quantile, logs[index])
        realised.log_thresholds[index] = value(quantile)


@kernel
def add_value(quantile: Any, log_variance: float) -> None:
    """Add a value of ln RV to a trailing quantile."""
    quantile.count += 1
    quantile.gain /= DECAY
    at = math.floor(log_variance / BIN) - FIRST_BIN
    quantile.weights[min(max(at, 0), BINS - 1)] += quantile.gain
    if quantile.gain > MAX_GAIN:
        for index in range(BINS):
            quantile.weights[index] /= quantile.gain
        quantile.gain = 1.0


@kernel
def value(quantile: Any) -> float:
    """Return the SPIKE_QUANTILE, interpolated inside its bin; NaN before the first value."""
    total = 0.0
    for weight in quantile.weights:
        total += weight
    # From above, as the quantile is near the top.
    left = (1 - SPIKE_QUANTILE) * total
    for back in range(BINS):
        at = BINS - 1 - back
        weight = quantile.weights[at]
        if weight > 0 and weight >= left:
            part: float = left / weight
            return (at + FIRST_BIN + 1 - part) * BIN
        left -= weight
    return math.nan
