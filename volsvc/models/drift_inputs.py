"""The inputs and the output of a model whose distributions are monitored for drift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from volsvc.domain import Snapshot
from volsvc.features import SCALE_NAMES
from volsvc.models.base import Array

# Features that the calendar or the age of the symbol determines cannot drift.
_BY_CALENDAR: Final = ("season_", "day_", "hour_", "weekend", "monday", "age")
_SCALES: Final = tuple(n for n in SCALE_NAMES if not n.startswith(_BY_CALENDAR))
# Names of the monitored values in order: the return window, the multi-scale features, the score.
DRIFT_INPUTS: Final = ("ret_mean", "ret_std", "span_s", *_SCALES, "score")
_COLUMNS: Final = tuple(SCALE_NAMES.index(name) for name in _SCALES)
# A day, in the unit of the feature `age`: ln(1 + minutes seen).
_WARM_AGE: Final = math.log1p(1440)


def snapshot_inputs(snapshot: Snapshot) -> list[float | None]:
    """Return the values of DRIFT_INPUTS in a snapshot; None where not known."""
    row, features = snapshot.row, snapshot.features
    return [
        row.ret_mean,
        row.ret_std,
        row.span_s,
        *[features[name] for name in _SCALES],
        snapshot.score,
    ]


def bar_inputs(scales: Array, score: float) -> list[float]:
    """Return the values of DRIFT_INPUTS for a minute of bars, which has no window of ticks."""
    return [math.nan, math.nan, math.nan, *(float(scales[column]) for column in _COLUMNS), score]


def is_warm(features: Mapping[str, float | None]) -> bool:
    """Return whether a symbol was seen for a day; before that its features lean on priors."""
    age = features["age"]
    return age is not None and age >= _WARM_AGE
