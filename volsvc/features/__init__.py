"""The state of each symbol in event time: window, minutes, averages, outcomes, history.

The same code runs in replay, live, after a restart and in training. It is pure: no I/O and no
clock. The features of a symbol depend on its own accepted ticks alone.
"""

from volsvc.domain import HORIZON_MINUTES
from volsvc.domain.feature_names import SCALE_NAMES, SEASON_HORIZONS_S
from volsvc.features.calibration import Calibration, VariantCalibrations
from volsvc.features.digest_chain import ClosedWindow, DigestChain
from volsvc.features.history import HISTORY_COLUMNS, History
from volsvc.features.minute_state import MinuteEnd, MinuteState
from volsvc.features.minutes import (
    FLOOR_PER_MINUTE,
    MINUTE_NS,
    MinuteBar,
    MinuteBuilder,
    Ohlcv,
    bar_of_prices,
    parkinson,
)
from volsvc.features.multiscale import MultiScale
from volsvc.features.print_filter import BAD_PRINT
from volsvc.features.realised import RealisedAtMinute, RealisedVariances
from volsvc.features.residual_laws import (
    LEVELS,
    TURBULENCE_RANGE,
    ResidualLaw,
    ResidualLaws,
    turbulence_weight,
)
from volsvc.features.return_window import ReturnWindow
from volsvc.features.state import StateError, SymbolState
from volsvc.features.table import SymbolTable
from volsvc.features.tick_check import TickStatus, TickValidator
from volsvc.features.tick_order import MAX_WAITING

__all__ = [
    "BAD_PRINT",
    "FLOOR_PER_MINUTE",
    "HISTORY_COLUMNS",
    "HORIZON_MINUTES",
    "LEVELS",
    "MAX_WAITING",
    "MINUTE_NS",
    "SCALE_NAMES",
    "SEASON_HORIZONS_S",
    "TURBULENCE_RANGE",
    "Calibration",
    "ClosedWindow",
    "DigestChain",
    "History",
    "MinuteBar",
    "MinuteBuilder",
    "MinuteEnd",
    "MinuteState",
    "MultiScale",
    "Ohlcv",
    "RealisedAtMinute",
    "RealisedVariances",
    "ResidualLaw",
    "ResidualLaws",
    "ReturnWindow",
    "StateError",
    "SymbolState",
    "SymbolTable",
    "TickStatus",
    "TickValidator",
    "VariantCalibrations",
    "bar_of_prices",
    "parkinson",
    "turbulence_weight",
]
