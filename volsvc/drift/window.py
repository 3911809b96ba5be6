"""Windows of event time that are checked for drift: one row for each symbol and minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from volsvc.domain import NS
from volsvc.drift.distance import Array

MINUTE_NS = 60 * NS
# Rows of a window, a bound on memory; of more the first are kept.
MAX_ROWS = 500_000
# Completed windows that wait for their check: a replay at full speed completes windows faster than
# checks run.
MAX_PENDING = 8


class DriftRow(NamedTuple):
    """The drift inputs of a symbol at a time, None or NaN where not known."""

    symbol: str
    time_ns: int
    values: Sequence[float | None]


class CompletedWindow(NamedTuple):
    """The rows of a window, of shape (rows, values), and its first and last event time.

    `length` is the number of rows of the symbol that has most.
    """

    rows: Array
    length: int
    start_ns: int
    end_ns: int


class WindowCollector:
    """Collects rows into windows, which end by event time, never by the clock.

    Completed windows wait in `completed`; of too many the oldest are dropped.
    """

    def __init__(self, interval_s: float, min_rows: int) -> None:
        self._interval_ns = round(interval_s * NS)
        self._min_rows = min_rows
        self._last_minute: dict[str, int] = {}
        self._rows: list[Sequence[float | None]] = []
        self._counts: dict[str, int] = {}
        self._start_ns = self._end_ns = 0
        self.completed: deque[CompletedWindow] = deque(maxlen=MAX_PENDING)

    def claim_minute(self, symbol: str, time_ns: int) -> bool:
        """Return True for the first call of a symbol in a minute, False for the others."""
        minute = time_ns // MINUTE_NS
        if minute <= self._last_minute.get(symbol, -1):
            return False
        self._last_minute[symbol] = minute
        return True

    def add(self, row: DriftRow) -> None:
        """Add a row; it may complete the window."""
        if not self._rows:
            self._start_ns = row.time_ns
        # Symbols are a little apart in event time, so a row may be older than the one before.
        self._end_ns = max(self._end_ns, row.time_ns)
        if len(self._rows) < MAX_ROWS:
            self._rows.append(row.values)
            self._counts[row.symbol] = self._counts.get(row.symbol, 0) + 1
        passed = self._end_ns - self._start_ns >= self._interval_ns
        if passed and self.length >= self._min_rows:
            rows = np.array(self._rows, dtype=np.float64)
            window = CompletedWindow(rows, self.length, self._start_ns, self._end_ns)
            self.completed.append(window)
            self._rows, self._counts, self._end_ns = [], {}, 0

    def forget(self, symbol: str) -> None:
        """Forget a symbol that has left the table; its rows remain in the current window."""
        self._last_minute.pop(symbol, None)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def length(self) -> int:
        """Rows of the symbol that has most of them in the current window."""
        return max(self._counts.values(), default=0)
