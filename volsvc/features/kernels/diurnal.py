"""The daily pattern of a symbol's variance, estimated online.

48 half-hour bins hold the mean variance relative to the level of the day, exponentially weighted
over days. The factors of a day depend on days that ended at least a day before it began, so the
factors of today and of tomorrow are known all day, and a horizon over midnight stays causal.
Minutes count from the epoch, UTC.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from volsvc.compiled import kernel, record_type

BINS: Final = 48
BIN_MINUTES: Final = 30
DAY_MINUTES: Final = BINS * BIN_MINUTES
# The weight of a day halves in 15 days.
FADE: Final = 2.0 ** (-1 / 15)
# Weight, in days, of the flat pattern that a new symbol starts with.
PRIOR_DAYS: Final = 5.0
# Of a longer gap only so many days are ended: old weights have faded by a factor of 5e-8 then.
MAX_GAP_DAYS: Final = 365

# `day` is -1 before the first minute. `cumulated` is the integral of the factors of today and
# tomorrow, in minutes; their mean is 1.
DIURNAL = record_type(
    [
        ("day", "i8"),
        ("cumulated", "f8", (2 * BINS + 1,)),
        ("sums", "f8", (BINS,)),
        ("weights", "f8", (BINS,)),
        ("today", "f8", (BINS,)),
        ("day_sums", "f8", (BINS,)),
        ("day_minutes", "f8", (BINS,)),
    ]
)


@kernel
def start(diurnal: Any) -> None:
    """Make a record of zeros a symbol with the flat pattern."""
    diurnal.day = -1
    diurnal.sums[:] = PRIOR_DAYS
    diurnal.weights[:] = PRIOR_DAYS
    diurnal.today[:] = 1.0
    _cumulate(diurnal, np.ones(BINS))


def restore(diurnal: Any) -> None:
    """Compute the integral anew, from the sums, the weights and the factors of today."""
    tomorrow = np.empty(BINS)
    _factors(diurnal, tomorrow)
    _cumulate(diurnal, tomorrow)


@kernel
def _bin(diurnal: Any, minutes: float) -> int:
    start_of_day = max(diurnal.day, 0) * DAY_MINUTES
    index = math.floor((minutes - start_of_day) / BIN_MINUTES)
    return min(max(index, 0), 2 * BINS - 1)


@kernel
def factor(diurnal: Any, minute: int) -> float:
    """Return the factor of a minute of the newest day or of the day after it."""
    index = _bin(diurnal, minute)
    low: float = diurnal.cumulated[index]
    return (diurnal.cumulated[index + 1] - low) / BIN_MINUTES


@kernel
def _integral(diurnal: Any, minutes: float) -> float:
    index = _bin(diurnal, minutes)
    start_of_bin = (max(diurnal.day, 0) * BINS + index) * BIN_MINUTES
    low: float = diurnal.cumulated[index]
    high: float = diurnal.cumulated[index + 1]
    return low + (high - low) * (minutes - start_of_bin) / BIN_MINUTES


@kernel
def mean_ahead(diurnal: Any, minutes: float, horizon: float) -> float:
    """Return the mean factor over the `horizon` minutes (at most a day) that follow a time."""
    return (_integral(diurnal, minutes + horizon) - _integral(diurnal, minutes)) / horizon


@kernel
def advance(diurnal: Any, minute: int) -> None:
    """Advance to the day of a minute, ending the days before it."""
    day = minute // DAY_MINUTES
    if diurnal.day < 0:
        diurnal.day = day
    for _ in range(min(day - diurnal.day, MAX_GAP_DAYS)):
        _end_day(diurnal)
    diurnal.day = max(diurnal.day, day)


@kernel
def add(diurnal: Any, minute: int, relative: float, silent: float) -> None:
    """Add a minute's variance relative to the level, and the silent minutes before it.

    `advance` must have been called with this minute.
    """
    index = minute % DAY_MINUTES // BIN_MINUTES
    diurnal.day_sums[index] += relative
    diurnal.day_minutes[index] += 1.0
    # Silent minutes are observations of 0; they may reach back into earlier bins of the day.
    while silent > 0 and index >= 0:
        room = max(min(silent, BIN_MINUTES - diurnal.day_minutes[index]), 0.0)
        diurnal.day_minutes[index] += room
        silent -= room
        index -= 1


@kernel
def _end_day(diurnal: Any) -> None:
    # Before the sums take in the day that ends: the factors of a day lag by two days.
    factors = np.empty(BINS)
    _factors(diurnal, factors)
    diurnal.today[:] = factors
    for index in range(BINS):
        sums, weights = diurnal.sums[index], diurnal.weights[index]
        diurnal.sums[index] = sums * FADE + diurnal.day_sums[index] / BIN_MINUTES
        diurnal.weights[index] = weights * FADE + diurnal.day_minutes[index] / BIN_MINUTES
        diurnal.day_sums[index] = 0.0
        diurnal.day_minutes[index] = 0.0
    _factors(diurnal, factors)
    _cumulate(diurnal, factors)


@kernel
def _factors(diurnal: Any, factors: Any) -> None:
    """Write the means by bin, smoothed with their neighbours and scaled to mean 1."""
    raw = np.empty(BINS)
    for index in range(BINS):
        weight = diurnal.weights[index]
        raw[index] = diurnal.sums[index] / weight if weight > 0 else 1.0
    total = 0.0
    for index in range(BINS):
        following = index + 1 if index + 1 < BINS else 0
        factors[index] = (raw[index - 1] + 2 * raw[index] + raw[following]) / 4
        total += factors[index]
    mean = total / BINS
    for index in range(BINS):
        # A share of the flat pattern, since a bin that was silent so far may not stay so.
        factors[index] = 0.05 + 0.95 * factors[index] / mean if mean > 0 else 1.0


@kernel
def _cumulate(diurnal: Any, tomorrow: Any) -> None:
    total = 0.0
    for index in range(BINS):
        diurnal.cumulated[index] = total
        total += diurnal.today[index] * BIN_MINUTES
    for index in range(BINS):
        diurnal.cumulated[BINS + index] = total
        total += tomorrow[index] * BIN_MINUTES
    diurnal.cumulated[2 * BINS] = total
