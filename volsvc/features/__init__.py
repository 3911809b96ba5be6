"""The state of each symbol in event time: window, minutes, averages, outcomes, history.

The same code runs in replay, live, after a restart and in training. It is pure: no I/O and no
clock. The features of a symbol depend on its own accepted ticks alone.

The state of a symbol is a record, and everything that is computed of it a kernel in `kernels`.
"""

from volsvc.domain import HORIZON_MINUTES
from volsvc.domain.feature_names import SCALE_NAMES, SEASON_HORIZONS_S
from volsvc.features.applied import SLICE_TICKS, Applied, Buffers
from volsvc.features.digest_chain import ClosedWindow, DigestChain
from volsvc.features.kernels.minutes import FLOOR_PER_MINUTE, MINUTE_NS
from volsvc.features.recordings import BAD_PRINT, apply_recording
from volsvc.features.residual_laws import LEVELS, ResidualLaws
from volsvc.features.state import SymbolState
from volsvc.features.stored_state import StateError
from volsvc.features.table import PointGrid, SymbolTable
from volsvc.features.tick_order import MAX_WAITING

__all__ = [
    "BAD_PRINT",
    "FLOOR_PER_MINUTE",
    "HORIZON_MINUTES",
    "LEVELS",
    "MAX_WAITING",
    "MINUTE_NS",
    "SCALE_NAMES",
    "SEASON_HORIZONS_S",
    "SLICE_TICKS",
    "Applied",
    "Buffers",
    "ClosedWindow",
    "DigestChain",
    "PointGrid",
    "ResidualLaws",
    "StateError",
    "SymbolState",
    "SymbolTable",
    "apply_recording",
]
