"""Laws (distributions) of forecast residuals, ln RV - ln forecast, in calm and in turbulence.

A model brings pooled laws of its residuals at each horizon; calibration.py adapts them to a symbol.
There are two laws per horizon, of calm and of turbulence, mixed by how near the forecast is to the
spike threshold: after a quiet minute the outcome may be anything, while turbulence persists.
kernels/laws.py reads them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

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


class ResidualLaws:
    """The laws of calm and of turbulence at one horizon, on common quantiles."""

    __slots__ = ("cumulated", "quantiles")

    def __init__(self, quantiles: Array, cumulated: Array) -> None:
        """Check and keep `quantiles` (len(LEVELS),) and `cumulated` (2, len(LEVELS)).

        Raises ValueError if either does not increase, or a law has no probability.
        """
        if quantiles.shape != LEVELS.shape or not (np.diff(quantiles) > 0).all():
            raise ValueError(f"a residual law needs {len(LEVELS)} rising quantiles")
        if cumulated.shape != (2, len(LEVELS)) or not (np.diff(cumulated, axis=1) >= 0).all():
            raise ValueError("probabilities of a residual law must rise")
        # Readings divide by what is between them.
        if not (cumulated[:, -1] > cumulated[:, 0]).all():
            raise ValueError("probabilities of a residual law are all 0")
        self.quantiles = quantiles
        self.cumulated = cumulated

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
