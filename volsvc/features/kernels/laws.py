"""Readings of a pair of residual laws, of calm and of turbulence, on common quantiles.

`calm` and `turbulent` are cumulated probabilities at the rising `quantiles`, all of one length.
They need not end at 1: each is divided by its last one as it is read. A law is linear between its
quantiles, and the mixture of both at a turbulence weight is read without being built.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from volsvc.compiled import kernel
from volsvc.domain import COVERAGE

Array = NDArray[np.float64]

# A forecast this far below the spike threshold, in log variance, or further counts as calm alone.
TURBULENCE_RANGE: Final = 2.0
# Probabilities of a residual up to the low and the high end of an interval.
LOW_LEVEL: Final = (1 - COVERAGE) / 2
HIGH_LEVEL: Final = (1 + COVERAGE) / 2


@kernel
def turbulence_weight(log_variance: float, log_threshold: float) -> float:
    """Return the weight of the law of turbulence, from 0 to 1.

    It rises linearly from TURBULENCE_RANGE below the spike threshold to 1 at the threshold. It is
    NaN if either number is.
    """
    weight = (log_variance - log_threshold) / TURBULENCE_RANGE + 1.0
    # Compared in this order a NaN stays one; min and max of compiled code would drop it.
    if weight < 0.0:
        return 0.0
    if weight > 1.0:
        return 1.0
    return weight


@kernel
def turbulence_weights(log_variances: Array, log_thresholds: Array) -> Array:
    """Return `turbulence_weight` of each pair of two arrays of one shape."""
    weights = np.empty_like(log_variances)
    for index in range(log_variances.size):
        weights.flat[index] = turbulence_weight(
            log_variances.flat[index], log_thresholds.flat[index]
        )
    return weights


@kernel
def cumulated(calm: Array, turbulent: Array, weight: float, index: int) -> float:
    """Return the probability of a residual up to the quantile at `index`, in the mixture."""
    last = len(calm) - 1
    share: float = calm[index] / calm[last]
    other: float = turbulent[index] / turbulent[last]
    return share + (other - share) * weight


@kernel
def above(quantiles: Array, calm: Array, turbulent: Array, weight: float, residual: float) -> float:
    """Return the probability that a residual is above the given one, in the mixture."""
    low, high = 0, len(quantiles)
    while low < high:
        middle = (low + high) >> 1
        if residual < quantiles[middle]:
            high = middle
        else:
            low = middle + 1
    if low == 0 or low == len(quantiles):
        return 1.0 - cumulated(calm, turbulent, weight, max(low - 1, 0))
    left = low - 1
    start = cumulated(calm, turbulent, weight, left)
    rise = cumulated(calm, turbulent, weight, low) - start
    slope = rise / (quantiles[low] - quantiles[left])
    part: float = slope * (residual - quantiles[left])
    # Rounded up, a probability close to 1 may exceed it.
    return max(1.0 - (part + start), 0.0)


@kernel
def quantile(quantiles: Array, calm: Array, turbulent: Array, weight: float, level: float) -> float:
    """Return the residual that the mixture reaches with the probability `level`.

    If several do, because bins between them are empty, it is the greatest.
    """
    low, high = 0, len(quantiles)
    while low < high:
        middle = (low + high) >> 1
        if level < cumulated(calm, turbulent, weight, middle):
            high = middle
        else:
            low = middle + 1
    if low == 0 or low == len(quantiles):
        end: float = quantiles[max(low - 1, 0)]
        return end
    left = low - 1
    start = cumulated(calm, turbulent, weight, left)
    rise = cumulated(calm, turbulent, weight, low) - start
    slope = (quantiles[low] - quantiles[left]) / rise
    found: float = slope * (level - start) + quantiles[left]
    return found


@kernel
def bin_of(quantiles: Array, residual: float) -> int:
    """Return the bin of a residual, from 0 to len(quantiles) - 2.

    A bin holds its upper end; the outermost ones take what lies beyond them.
    """
    low, high = 0, len(quantiles)
    while low < high:
        middle = (low + high) >> 1
        if quantiles[middle] < residual:
            low = middle + 1
        else:
            high = middle
    return min(max(low - 1, 0), len(quantiles) - 2)
