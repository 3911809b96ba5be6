"""Laws (distributions) of forecast residuals, ln RV - ln forecast, in calm and in turbulence.

A model brings pooled laws of its residuals at each horizon; calibration.py adapts them to a symbol.
There are two laws per horizon, of calm and of turbulence, mixed by how near the forecast is to the
spike threshold: after a quiet minute the outcome may be anything, while turbulence persists.
"""

from __future__ import annotations

from bisect import bisect_right
from copy import copy
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import COVERAGE

Array = NDArray[np.float64]

_TAIL_LEVELS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.065, 0.08)
_MIDDLE_LEVELS = tuple(level / 40 for level in range(4, 37))
# Probabilities at which the quantiles of a pooled law are given; denser in the tails, where
# intervals and spike probabilities are read.
LEVELS: Final[Array] = np.array(
    (0.0, *_TAIL_LEVELS, *_MIDDLE_LEVELS, *(1 - level for level in reversed(_TAIL_LEVELS)), 1.0)
)
_BIN_MASSES: Final[Array] = np.diff(LEVELS)
# Extent of the outermost bins beyond the quantiles at 0.5 and 99.5 %, in log variance.
TAIL: Final = 1.5
# A forecast this far below the spike threshold, in log variance, or further counts as calm alone.
TURBULENCE_RANGE: Final = 2.0
_BOUNDS: Final = ((1 - COVERAGE) / 2, 0.5, (1 + COVERAGE) / 2)


def turbulence_weight(log_variance: Array, log_threshold: Array) -> Array:
    """Return the weights of the law of turbulence, from 0 to 1.

    They rise linearly from TURBULENCE_RANGE below the spike threshold to 1 at the threshold.
    """
    return np.clip((log_variance - log_threshold) / TURBULENCE_RANGE + 1, 0.0, 1.0)


class ResidualLaw(NamedTuple):
    """A law of residuals: probabilities `cumulated` at increasing `quantiles`.

    Both have the shape (len(LEVELS),). The law is linear between them.
    """

    quantiles: Array
    cumulated: Array

    def above(self, residual: Array | float) -> Array:
        """Return the probability that a residual is above each given one."""
        return np.asarray(1 - np.interp(residual, self.quantiles, self.cumulated))

    def bounds(self) -> tuple[float, float, float]:
        """Return the central interval of probability COVERAGE: low, median and high."""
        low, median, high = np.interp(_BOUNDS, self.cumulated, self.quantiles).tolist()
        return low, median, high


class LawReading(NamedTuple):
    """A mixed ResidualLaw as lists of floats, evaluated only where it is read.

    For a few readings this is faster than arrays. Results are equal to the last bit, so the
    arithmetic follows that of numpy.interp.
    """

    calm: list[float]
    turbulent: list[float]
    quantiles: list[float]
    turbulence: float

    def _cumulated(self, index: int) -> float:
        calm = self.calm[index]
        return calm + (self.turbulent[index] - calm) * self.turbulence

    def above(self, residual: float) -> float:
        """Return the probability that a residual is above the given one."""
        xs = self.quantiles
        index = bisect_right(xs, residual) - 1
        if index < 0:
            return 1 - self._cumulated(0)
        if index >= len(xs) - 1:
            return 1 - self._cumulated(len(xs) - 1)
        low, high = self._cumulated(index), self._cumulated(index + 1)
        slope = (high - low) / (xs[index + 1] - xs[index])
        return 1 - (slope * (residual - xs[index]) + low)

    def bounds(self) -> tuple[float, float, float]:
        """Return the central interval of probability COVERAGE: low, median and high."""
        low, median, high = map(self._quantile, _BOUNDS)
        return low, median, high

    def _quantile(self, level: float) -> float:
        ys, calm, turbulent, turbulence = (
            self.quantiles,
            self.calm,
            self.turbulent,
            self.turbulence,
        )
        # bisect_right over `_cumulated`, written out: the calls would take twice the time.
        index, end = 0, len(ys)
        while index < end:
            middle = (index + end) // 2
            if level < calm[middle] + (turbulent[middle] - calm[middle]) * turbulence:
                end = middle
            else:
                index = middle + 1
        index -= 1
        if index < 0 or index >= len(ys) - 1:
            return ys[max(index, 0)]
        x = self._cumulated(index)
        slope = (ys[index + 1] - ys[index]) / (self._cumulated(index + 1) - x)
        return slope * (level - x) + ys[index]


class ResidualLaws:
    """The laws of calm and of turbulence at one horizon, on common quantiles."""

    __slots__ = ("_plain_quantiles", "cumulated", "quantiles")

    def __init__(self, quantiles: Array, cumulated: Array) -> None:
        """Check and keep `quantiles` (len(LEVELS),) and `cumulated` (2, len(LEVELS)).

        Raises ValueError if either does not increase.
        """
        if quantiles.shape != LEVELS.shape or not (np.diff(quantiles) > 0).all():
            raise ValueError(f"a residual law needs {len(LEVELS)} rising quantiles")
        if cumulated.shape != (2, len(LEVELS)) or not (np.diff(cumulated, axis=1) >= 0).all():
            raise ValueError("probabilities of a residual law must rise")
        self.quantiles = quantiles
        self.cumulated = cumulated
        self._plain_quantiles = quantiles.tolist()

    def with_cumulated(self, cumulated: Array) -> ResidualLaws:
        """Return laws with other probabilities at the same quantiles."""
        # Quantiles are shared rather than copied and checked: every symbol has laws of its own.
        laws = copy(self)
        laws.cumulated = cumulated
        return laws

    @classmethod
    def of_residuals(cls, residuals: Array, turbulence: Array) -> ResidualLaws:
        """Return the empirical laws of residuals and their turbulence weights, of shape (n,)."""
        inner = np.quantile(residuals, LEVELS[1:-1])
        edges = np.concatenate(([inner[0] - TAIL], inner, [inner[-1] + TAIL]))
        # Ties (many outcomes are at the floor) would leave bins of no width.
        quantiles = np.maximum.accumulate(edges) + np.arange(len(edges)) * 1e-9
        bins = np.clip(np.searchsorted(quantiles, residuals) - 1, 0, len(LEVELS) - 2)
        masses = [
            # A tenth of the pooled law is added, so that a rarely visited law has no empty bins.
            np.bincount(bins, weight, len(LEVELS) - 1) / max(weight.sum(), 1e-9) + 0.1 * _BIN_MASSES
            for weight in (1 - turbulence, turbulence)
        ]
        cumulated = [np.concatenate(([0.0], np.cumsum(mass))) for mass in masses]
        return cls(quantiles, np.array([total / total[-1] for total in cumulated]))

    def mixed(self, turbulence: float) -> ResidualLaw:
        """Return the law at a turbulence weight."""
        calm, turbulent = self.cumulated
        return ResidualLaw(self.quantiles, calm + (turbulent - calm) * turbulence)

    def reading(self, turbulence: float) -> LawReading:
        """Return the law at a turbulence weight for a few readings; faster than `mixed`."""
        calm, turbulent = self.cumulated.tolist()
        return LawReading(calm, turbulent, self._plain_quantiles, turbulence)

    def bin(self, residual: float) -> int:
        """Return the bin of a residual, from 0 to len(LEVELS) - 2."""
        index = int(np.searchsorted(self.quantiles, residual)) - 1
        return min(max(index, 0), len(LEVELS) - 2)
