"""The baseline: exponentially weighted variance times the daily pattern.

Code and a few constants; there is no artefact that could be missing or corrupt. A row of a live
symbol brings its own variances; a posted row of ret_mean, ret_std, n is turned into one by the time
that its window covers.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from volsvc.models.base import (
    FEATURES,
    FINE_LAW,
    HORIZONS_S,
    Array,
    Model,
    Window,
    known_scales,
    level_variances,
    normal_laws,
    rate_of,
    window_rate,
)

# The best of the engine's half-lives at each horizon, on the training bars (`volsvc evaluate`).
HALF_LIVES: Final = ("variance_10m", "variance_10m", "variance_30m", "variance_90m")

# Realised variance above this multiple of the symbol's level is a spike: the 90 % quantile of the
# ratio, 1.99 to 2.17 at 5 to 60 minutes on a year of 1-minute bars of five symbols.
SPIKE_RATIO: Final = 2.0

# Mean and standard deviation of ln RV - ln forecast at each horizon, rounded from the same bars;
# the law is taken to be normal.
COARSE_LAW: Final = ((-0.4, 1.0), (-0.2, 1.0), (-0.2, 1.1), (0.0, 1.0))

_VARIANCE_AT = [FEATURES.index(name) for name in HALF_LIVES]


class Baseline(Model):
    """EWMA at a fixed half-life; can't fail to load."""

    variant = "baseline"
    version = "2"

    def __init__(self) -> None:
        constants = repr((FEATURES, HALF_LIVES, SPIKE_RATIO, COARSE_LAW, FINE_LAW))
        self.digest = hashlib.sha256(f"{self.version}{constants}".encode()).hexdigest()
        self.laws = normal_laws(FINE_LAW)
        self.coarse_laws = normal_laws(COARSE_LAW)
        self.spike_log_ratios = (float(np.log(SPIKE_RATIO)),) * len(HORIZONS_S)

    def head_variances(self, features: Array, count: int) -> Array:
        """Variances at the first of HORIZONS_S; see `Model.head_variances`."""
        live = level_variances(features, count) * np.exp(features[:, _VARIANCE_AT[:count]])
        posted = window_rate(features)[:, None] * np.array(HORIZONS_S[:count])
        return np.where(known_scales(features)[:, None], live, posted)

    def window_variances(self, window: Window, count: int) -> list[float]:
        """Variances of one window; see `Model.window_variances`."""
        rate = rate_of(window)
        return [rate * horizon for horizon in HORIZONS_S[:count]]
