"""What is gathered until it is judged: one row a symbol and minute of event time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from volsvc.domain import NS
from volsvc.drift.distance import Array

MINUTE_NS = 60 * NS
# A window with more symbols keeps the first of them: a bound on memory.
MOST_ROWS = 500_000


# Windows that wait to be judged: a replay at full speed ends them faster than that goes.
MOST_WAITING = 8


class DriftRow(NamedTuple):
    """The monitored values of a symbol at a moment of event time, None or NaN where not known."""

    symbol: str
    time_ns: int
    values: Sequence[float | None]


class Stretch(NamedTuple):
    """A window that is over: rows (rows, values), those of the longest symbol, and its times."""

    rows: Array
    length: int
    start_ns: int
    end_ns: int


class DriftWindow:
    """Rows since the last window; one is over by event time, never by the clock.

    Windows that are over wait in `over` until they are judged; of too many the oldest are dropped.
    """

    def __init__(self, interval_s: float, min_rows: int) -> None:
        self._interval_ns = round(interval_s * NS)
        self._min_rows = min_rows
        self._seen: dict[str, int] = {}
        self._rows: list[Sequence[float | None]] = []
        self._counts: dict[str, int] = {}
        self._start_ns = self._end_ns = 0
        self.over: deque[Stretch] = deque(maxlen=MOST_WAITING)

    def due(self, symbol: str, time_ns: int) -> bool:
        """Whether a symbol has no row of this minute yet; true once a minute."""
        minute = time_ns // MINUTE_NS
        if minute <= self._seen.get(symbol, -1):
            return False
        self._seen[symbol] = minute
        return True

    def add(self, row: DriftRow) -> None:
        """Keep a row; it may end the window."""
        if not self._rows:
            self._start_ns = row.time_ns
        self._end_ns = max(self._end_ns, row.time_ns)
        if len(self._rows) < MOST_ROWS:
            self._rows.append(row.values)
            self._counts[row.symbol] = self._counts.get(row.symbol, 0) + 1
        passed = self._end_ns - self._start_ns >= self._interval_ns
        if passed and self.length >= self._min_rows:
            rows = np.array(self._rows, dtype=np.float64)
            self.over.append(Stretch(rows, self.length, self._start_ns, self._end_ns))
            self._rows, self._counts, self._end_ns = [], {}, 0

    def forget(self, symbol: str) -> None:
        """A symbol has left; what it gave stays until the window is over."""
        self._seen.pop(symbol, None)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def length(self) -> int:
        """Rows of the symbol that has most: how long a stretch this is."""
        return max(self._counts.values(), default=0)
