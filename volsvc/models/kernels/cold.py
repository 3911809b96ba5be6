"""Forecasts of a symbol before a full minute of it was watched: a prior, shrunk to what was seen.

In its first seconds a symbol has shown no variance yet, or only the bounce of its trades. So a
typical market counts beside it, less and less: in the logarithm of variance the weight of what was
seen rises from 0 to 1 with the time watched. From a full minute on nothing of the prior is left, so
there is no step at its end.
"""

from __future__ import annotations

import math
from typing import Final

from volsvc.compiled import kernel
from volsvc.features.kernels.minutes import GRID_NS, MINUTE_NS

# Variance per second of a typical market, 6 bp a minute (44 % a year): a round number between the
# median hour of BTC and ETH and that of smaller symbols, in the bars that the model was fitted on.
PRIOR_RATE: Final = (6e-4) ** 2 / 60
# Width of the central 90 % of ln variance among markets and hours, ten times up and down.
PRIOR_WIDTH: Final = math.log(100)
# Watched for less than a step of the grid, a symbol has shown no return of the grid, only bounce.
_FIRST_STEP: Final = GRID_NS / MINUTE_NS
# The part of the rest of the minute after which what was seen has more than half of the weight.
HALF_WEIGHT: Final = 0.2
# Times in minutes are rounded by some nanoseconds: a full minute may seem to lack that much.
_ROUNDING: Final = 1e-6


@kernel
def evidence_weight(age: float) -> float:
    """Return the weight, from 0 to 1, of what was seen of a symbol; `age` is ln(1 + minutes).

    It is 0 for NaN, the age of a symbol without ticks.
    """
    part = (math.expm1(age) - _FIRST_STEP) / (1 - _FIRST_STEP)
    if part >= 1 - _ROUNDING:
        return 1.0
    return part * (1 + HALF_WEIGHT) / (part + HALF_WEIGHT) if part > 0 else 0.0


@kernel
def shrunk(rate: float, weight: float) -> float:
    """Return a variance per second of which the evidence has a weight, and the prior the rest."""
    # Exactly the evidence, or exactly the prior even where the evidence is NaN.
    if weight == 1.0:
        return rate
    if weight == 0.0:
        return PRIOR_RATE
    return math.exp((1 - weight) * math.log(PRIOR_RATE) + weight * math.log(rate))


@kernel
def widened(widening: float, weight: float, width: float) -> float:
    """Return the factor by which an interval of ln variance is widened, the prior's width included.

    `widening` is the factor without it, `width` that of the interval before, and `weight` that of
    the evidence.
    """
    # The error of the prior and that of the model are independent, so their squares add up.
    return math.hypot(widening, (1 - weight) * PRIOR_WIDTH / width) if width > 0 else widening
