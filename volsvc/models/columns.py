"""Columns of the feature matrix that models read, and the bounds of what they forecast.

`FEATURES` are the columns of the matrix: the return window of a posted row, and the multi-scale
features of a live symbol. The latter alone are called scales.
"""

from __future__ import annotations

from typing import Final

from volsvc.domain.feature_names import SCALE_NAMES, SEASON_HORIZONS_S, WINDOW_NAMES
from volsvc.features import FLOOR_PER_MINUTE

# Columns of a feature matrix, in order; NaN where a row lacks one. See docs/feature_spec.md.
FEATURES: Final[tuple[str, ...]] = WINDOW_NAMES + SCALE_NAMES
SCALES_FROM: Final = len(WINDOW_NAMES)
SCHEMA_VERSION: Final = 2

# The horizons that models are fitted at.
HORIZONS_S: Final = tuple(float(horizon) for horizon in SEASON_HORIZONS_S)

# Least variance per second of a target or a forecast, (0.5 bp)**2 a minute: QLIKE has no value at
# a realised variance of 0, and the floor keeps minutes without a trade from ruling the loss.
FLOOR_RATE: Final = FLOOR_PER_MINUTE / 60
# Greatest variance per second of a forecast: a posted row may hold any number.
MAX_RATE: Final = 1.0
# Median gap between the ticks of a liquid Coinbase market, for rows that give no span.
SECONDS_PER_TICK: Final = 0.2
# Variance per second of an ordinary hour (4 bp a minute), for rows that give no level.
PRIOR_LEVEL_RATE: Final = (4e-4) ** 2 / 60

# Places among the scales. The seasons are one a fitted horizon, side by side.
LEVEL: Final = SCALE_NAMES.index("level")
SEASON: Final = SCALE_NAMES.index(f"season_{SEASON_HORIZONS_S[0]}s")
RESOLUTION: Final = SCALE_NAMES.index("resolution")
