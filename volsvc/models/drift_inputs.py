"""The inputs and outputs of a model whose laws are watched for drift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from volsvc.domain import Snapshot
from volsvc.features import SCALE_NAMES
from volsvc.models.base import Array

# What the date or the time watched decides cannot drift.
_BY_CALENDAR: Final = ("season_", "day_", "hour_", "weekend", "monday", "age")
MONITORED_SCALES: Final = tuple(n for n in SCALE_NAMES if not n.startswith(_BY_CALENDAR))
# Names of what is watched, in order: the window, the multi-scale features, and the score.
MONITORED: Final = ("ret_mean", "ret_std", "span_s", *MONITORED_SCALES, "score")
_PLACES: Final = tuple(SCALE_NAMES.index(name) for name in MONITORED_SCALES)


def monitored_of(snapshot: Snapshot) -> list[float | None]:
    """The watched values of what was said of a symbol; None where not known."""
    row, features = snapshot.row, snapshot.features
    return [
        row.ret_mean,
        row.ret_std,
        row.span_s,
        *[features[name] for name in MONITORED_SCALES],
        snapshot.score,
    ]


def monitored_scales(scales: Array, score: float) -> list[float]:
    """The watched values of a minute of bars, which has no window of ticks."""
    return [math.nan, math.nan, math.nan, *(float(scales[at]) for at in _PLACES), score]


def is_warm(features: Mapping[str, float | None]) -> bool:
    """Whether a symbol has been watched for a day; before that its features lean on priors."""
    age = features["age"]
    return age is not None and age >= WARM_AGE


WARM_AGE: Final = math.log1p(1440)
