"""The state of one symbol, as the rest of the service reads it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np

from volsvc.domain import (
    BarSource,
    CalibrationSource,
    FeatureRow,
    Quality,
    Verdict,
    Warmed,
    format_time,
)
from volsvc.features.forecast_history import ForecastHistory
from volsvc.features.kernels import points, price_window
from volsvc.features.kernels.minutes import MINUTE_NS
from volsvc.features.kernels.price_window import ROW, WINDOW
from volsvc.features.tick_order import TickOrder
from volsvc.scoring.scores import SymbolScores

# The verdicts on a symbol's forecasts, by `verdict_of`.
VERDICTS: Final[tuple[Verdict, ...]] = ("cold", "warming", "ok")
# The origins of bars, by the numbers that states have of them.
BAR_SOURCES: Final[tuple[BarSource, ...]] = ("venue", "file", "generator")


def verdict_of(cold: Any, warm: Any) -> Any:
    """Return the place in VERDICTS of values of QUALITY, which may be arrays.

    A symbol is cold until a full minute was watched, or known from bars, and warming until its
    daily pattern is its own.
    """
    return (cold == 0) * (1 + (warm != 0))


def quality_of(values: tuple[Any, ...], calibration: CalibrationSource = "pooled") -> Quality:
    """Return the values of a QUALITY with the verdict on the symbol's forecasts."""
    gaps, duplicates, late, future, ticks, bad_prints, fill_ratio, cold, warm, bars = values
    verdict = VERDICTS[verdict_of(cold, warm)]
    counts = gaps, duplicates, late, fill_ratio, verdict, calibration, future, ticks, bad_prints
    return Quality(*counts, _warmed(*bars[:3]))


@lru_cache(1024)
def _warmed(source: int, from_minute: int, minutes: int) -> Warmed | None:
    if minutes == 0:
        return None
    return Warmed(BAR_SOURCES[source], format_time(from_minute * MINUTE_NS), minutes)


class SymbolState:
    """A symbol's record and rings: a view of the table's arrays, for as long as it has the symbol.

    `record` is that of STATE.
    """

    __slots__ = (
        "_prices",
        "_times",
        "_window_size",
        "forecast_history",
        "order",
        "record",
        "scores",
        "symbol",
    )

    def __init__(
        self,
        symbol: str,
        record: Any,
        ring: tuple[Any, Any],
        window_size: int,
        scores: SymbolScores,
        forecast_history: ForecastHistory,
        order: TickOrder | None,
    ) -> None:
        """Read `record` and `ring`, the symbol's prices and their times."""
        self.symbol = symbol
        self.record = record
        self.scores = scores
        self.forecast_history = forecast_history
        self.order = order
        self._prices, self._times = ring
        self._window_size = window_size

    @property
    def partition(self) -> int:
        """The partition of the newest tick in the state."""
        return int(self.record.ticks.partition)

    @property
    def offset(self) -> int:
        """The offset of the newest tick in the state; -1 before the first."""
        return int(self.record.ticks.offset)

    @property
    def newest_trade_id(self) -> int | None:
        """The highest id of a trade in the state; None if its ticks have none."""
        newest = int(self.record.ticks.check.last_id)
        return newest if newest >= 0 else None

    @property
    def row(self) -> FeatureRow | None:
        """The features after the newest tick; None before the first."""
        window = self.record.ticks.window
        if window.count == 0:
            return None
        row = np.zeros(1, ROW)[0]
        price_window.read_row(window, self._prices, self._times, self._window_size, row)
        return FeatureRow(self.symbol, *row.item())

    def quality(self) -> Quality:
        """Return the counts of this symbol's feed and the verdict on its forecasts."""
        quality = np.zeros(1, points.QUALITY)[0]
        ticks = self.record.ticks
        newest_ns = int(self._times[ticks.window.at])
        points.write_quality(ticks, self._window_size, newest_ns, quality)
        return quality_of(quality.item())

    def history(self, limit: int) -> list[FeatureRow]:
        """Return the newest `limit` rows of features since the start, oldest first."""
        window = self.record.ticks.window
        kept = len(self._prices) - self._window_size
        rows = np.zeros(min(limit, int(window.history), kept), ROW)
        past = np.zeros(1, WINDOW)[0]
        price_window.read_history(window, self._prices, self._times, self._window_size, past, rows)
        return [FeatureRow(self.symbol, *row) for row in rows.tolist()]
