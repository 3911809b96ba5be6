"""Values and parsers of the domain: ticks, feature rows, forecasts, times and errors.

Nothing here does I/O, reads the clock, or depends on HTTP, Kafka or MLflow.
"""

from volsvc.domain.errors import (
    BusError,
    BusUnavailableError,
    FeedError,
    InvalidTickError,
    NotATickError,
    SourceError,
    StartupError,
    UnknownSymbolError,
    VolsvcError,
)
from volsvc.domain.fields import is_symbol
from volsvc.domain.forecast import (
    COVERAGE,
    HORIZON_MINUTES,
    BarSource,
    CalibrationSource,
    FeatureRow,
    Forecast,
    IssuedForecast,
    Outcome,
    PointForecast,
    Prediction,
    Quality,
    Snapshot,
    Verdict,
    Warmed,
)
from volsvc.domain.numbers import float_of, int_of
from volsvc.domain.records import tick_from_fields, tick_from_record
from volsvc.domain.tick import SourceRow, Tick
from volsvc.domain.times import NS, format_time, parse_time

__all__ = [
    "COVERAGE",
    "HORIZON_MINUTES",
    "NS",
    "BarSource",
    "BusError",
    "BusUnavailableError",
    "CalibrationSource",
    "FeatureRow",
    "FeedError",
    "Forecast",
    "InvalidTickError",
    "IssuedForecast",
    "NotATickError",
    "Outcome",
    "PointForecast",
    "Prediction",
    "Quality",
    "Snapshot",
    "SourceError",
    "SourceRow",
    "StartupError",
    "Tick",
    "UnknownSymbolError",
    "Verdict",
    "VolsvcError",
    "Warmed",
    "float_of",
    "format_time",
    "int_of",
    "is_symbol",
    "parse_time",
    "tick_from_fields",
    "tick_from_record",
]
