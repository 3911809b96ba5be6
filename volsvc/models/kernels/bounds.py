"""Bounds that keep a NaN, and the level that forecasts are relative to."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from volsvc.compiled import kernel
from volsvc.models.columns import HORIZONS_S, LEVEL

Array = NDArray[np.float64]

# The fitted horizons as kernels read them.
HORIZONS: Final[Array] = np.array(HORIZONS_S)


# The conditions let a NaN through, which min and max of compiled code may drop.
@kernel
def at_least(value: float, bound: float) -> float:
    """Return a value, or the bound if the value is below it; NaN for NaN."""
    return bound if value < bound else value


@kernel
def clamped(value: float, low: float, high: float) -> float:
    """Return a value, or the nearer of two bounds if it is outside them; NaN for NaN."""
    if value < low:
        return low
    return high if value > high else value


@kernel
def level_variance(scales: Array, season: int, horizon_s: float) -> float:
    """Return the slow level times a season's daily pattern over a horizon."""
    variance: float = scales[LEVEL] * scales[season] * horizon_s
    return variance
