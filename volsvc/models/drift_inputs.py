"""The inputs and the output of a model whose distributions are monitored for drift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from volsvc.features import SCALE_NAMES
from volsvc.models.columns import FEATURES, SCALES_FROM

# Features that the calendar or the age of the symbol determines cannot drift.
_BY_CALENDAR: Final = ("season_", "day_", "hour_", "weekend", "monday", "age")
_SCALES: Final = tuple(n for n in SCALE_NAMES if not n.startswith(_BY_CALENDAR))
# Names of the monitored values in order: the return window, the multi-scale features, the score.
DRIFT_INPUTS: Final = ("ret_mean", "ret_std", "span_s", *_SCALES, "score")
_COLUMNS: Final = tuple(FEATURES.index(name) for name in _SCALES)
_AGE: Final = FEATURES.index("age")
# A day, in the unit of the feature `age`: ln(1 + minutes seen).
_WARM_AGE: Final = math.log1p(1440)


def drift_inputs(inputs: Sequence[float], score: float) -> list[float]:
    """Return the values of DRIFT_INPUTS from those of a model, in the order of FEATURES.

    A minute of bars has no window of ticks.
    """
    mean, std, _, span_s = inputs[:SCALES_FROM]
    return [mean, std, span_s, *[inputs[column] for column in _COLUMNS], score]


def is_warm(inputs: Sequence[float]) -> bool:
    """Return whether a symbol was seen for a day; before that its features lean on priors."""
    # Not known before the first tick, and NaN then.
    return inputs[_AGE] >= _WARM_AGE
