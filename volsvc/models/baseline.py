"""The baseline: exponentially weighted variance times the daily pattern.

It is code and a few constants, so there is no artefact that could be missing or corrupt. A row of a
live symbol brings its own variances; of a posted row (`ret_mean`, `ret_std`, `n`) the variance is
divided by the time that its window covers.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from volsvc.models.base import TICK_RESIDUALS, Array, Model, feature_matrix, normal_laws
from volsvc.models.columns import FEATURES, HORIZONS_S
from volsvc.models.kernels.windows import HALF_LIVES, baseline_variances

# Realised variance above this multiple of the symbol's level is a spike: the 90 % quantile of the
# ratio, 1.99 to 2.17 at 5 to 60 minutes on a year of 1-minute bars of five symbols.
SPIKE_RATIO: Final = 2.0

# Mean and standard deviation of the residual ln RV - ln forecast at each horizon, rounded from the
# same bars and taken to be normal.
BAR_RESIDUALS: Final = ((-0.4, 1.0), (-0.2, 1.0), (-0.2, 1.1), (0.0, 1.0))


class Baseline(Model):
    """EWMA at a fixed half-life; loading it cannot fail."""

    variant = "baseline"
    version = "2"

    def __init__(self) -> None:
        # A calibration belongs to a digest: other constants must not inherit learnt residuals.
        constants = repr((FEATURES, HALF_LIVES, SPIKE_RATIO, BAR_RESIDUALS, TICK_RESIDUALS))
        self.digest = hashlib.sha256(f"{self.version}{constants}".encode()).hexdigest()
        self.laws = normal_laws(TICK_RESIDUALS)
        self.coarse_laws = normal_laws(BAR_RESIDUALS)
        self.spike_log_ratios = (float(np.log(SPIKE_RATIO)),) * len(HORIZONS_S)

    def head_variances(self, features: Array, count: int) -> Array:
        """Return the variances at the first of HORIZONS_S; see `Model.head_variances`."""
        assert count <= len(HORIZONS_S), "a model has the variances of HORIZONS_S"
        return baseline_variances(feature_matrix(features), count)
