"""Whether what comes in is still what the model was fitted on. Pure: no I/O and no clock."""

from volsvc.drift.judge import DriftResult, FeatureDrift, judge
from volsvc.drift.reference import DriftReferenceError, Reference, summarise
from volsvc.drift.window import DriftRow, DriftWindow, Stretch

__all__ = [
    "DriftReferenceError",
    "DriftResult",
    "DriftRow",
    "DriftWindow",
    "FeatureDrift",
    "Reference",
    "Stretch",
    "judge",
    "summarise",
]
