"""Per-symbol state in event time: windows, minutes, moments at many scales, outcomes, history.

The same code runs in replay, live, after a restart and in training. It is pure: no I/O and no
clock. A symbol's features depend on its own accepted ticks alone.
"""

from volsvc.domain.feature_names import SCALE_NAMES, SEASON_HORIZONS_S
from volsvc.features.calibration import (
    LEVELS,
    STORM_FROM,
    Calibration,
    ResidualLaw,
    ResidualLaws,
    storm_weight,
)
from volsvc.features.digest_chain import ClosedWindow, DigestChain
from volsvc.features.history import HISTORY_COLUMNS, History
from volsvc.features.minutes import MINUTE_NS, MinuteBuilder, Ohlcv, bar_of_prices
from volsvc.features.multiscale import FLOOR_PER_MINUTE, MinuteBar, MultiScale, parkinson
from volsvc.features.realised import HORIZON_MINUTES, RealisedVariances, Settled
from volsvc.features.return_window import ReturnWindow
from volsvc.features.state import MinuteEnd, StateError, SymbolState
from volsvc.features.table import SymbolTable
from volsvc.features.tick_check import TickStatus, TickValidator

__all__ = [
    "FLOOR_PER_MINUTE",
    "HISTORY_COLUMNS",
    "HORIZON_MINUTES",
    "LEVELS",
    "MINUTE_NS",
    "SCALE_NAMES",
    "SEASON_HORIZONS_S",
    "STORM_FROM",
    "Calibration",
    "ClosedWindow",
    "DigestChain",
    "History",
    "MinuteBar",
    "MinuteBuilder",
    "MinuteEnd",
    "MultiScale",
    "Ohlcv",
    "RealisedVariances",
    "ResidualLaw",
    "ResidualLaws",
    "ReturnWindow",
    "Settled",
    "StateError",
    "SymbolState",
    "SymbolTable",
    "TickStatus",
    "TickValidator",
    "bar_of_prices",
    "parkinson",
    "storm_weight",
]
