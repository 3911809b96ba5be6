"""Compare what a model receives with what it was fitted on.

`monitor` and `report` run in the daemon; the other modules are pure: no I/O and no clock.
"""

from volsvc.drift.judge import DriftResult, FeatureDrift, judge
from volsvc.drift.reference import DriftReferenceError, Reference, summarise
from volsvc.drift.window import CompletedWindow, DriftRow, WindowCollector

__all__ = [
    "CompletedWindow",
    "DriftReferenceError",
    "DriftResult",
    "DriftRow",
    "FeatureDrift",
    "Reference",
    "WindowCollector",
    "judge",
    "summarise",
]
