"""Per-symbol state in event time: windows, variances, order checks, history.

The same code runs in replay, live, after a restart and in training. It is pure: no I/O and no
clock. A symbol's features depend on its own accepted ticks alone.
"""

from volsvc.features.history import HISTORY_COLUMNS, History
from volsvc.features.moments import ReturnWindow
from volsvc.features.order import Order, OrderCheck
from volsvc.features.state import StateError, SymbolState
from volsvc.features.table import SymbolTable
from volsvc.features.variance import EwmaVariance

__all__ = [
    "HISTORY_COLUMNS",
    "EwmaVariance",
    "History",
    "Order",
    "OrderCheck",
    "ReturnWindow",
    "StateError",
    "SymbolState",
    "SymbolTable",
]
