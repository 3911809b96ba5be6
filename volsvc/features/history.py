"""A bounded ring of a symbol's newest feature rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from volsvc.domain import FeatureRow

HISTORY_COLUMNS = FeatureRow._fields[1:]
"""The columns of a history: every field of a feature row but its symbol."""

_DTYPE = np.dtype([(name, "i8" if name in ("time_ns", "n") else "f8") for name in HISTORY_COLUMNS])


class History:
    """The last `capacity` feature rows of one symbol, in a numpy ring that grows as it fills."""

    __slots__ = ("_count", "_rows", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        # Most of many symbols are quiet: full rings for all of them would be memory for nothing.
        self._rows = np.zeros(min(capacity, 16), _DTYPE)
        self._count = 0

    def __len__(self) -> int:
        return min(self._count, self.capacity)

    def append(self, row: FeatureRow) -> None:
        """Add the newest row; the oldest one leaves a full ring."""
        size = len(self._rows)
        if self._count == size < self.capacity:
            grown = np.zeros(min(size * 2, self.capacity), _DTYPE)
            grown[:size] = self._rows
            self._rows = grown
        self._rows[self._count % len(self._rows)] = row[1:]
        self._count += 1

    def newest(self, limit: int, symbol: str) -> Iterator[FeatureRow]:
        """The newest `limit` rows, oldest first."""
        for index in range(self._count - min(limit, len(self)), self._count):
            yield FeatureRow(symbol, *self._rows[index % len(self._rows)].tolist())
