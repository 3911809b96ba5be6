"""A bounded ring of a symbol's newest feature rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from volsvc.domain import FeatureRow
from volsvc.features.ring import Ring

HISTORY_COLUMNS = FeatureRow._fields[1:]
"""The columns of a history: every field of a feature row but its symbol."""

_DTYPE = np.dtype([(name, "i8" if name in ("time_ns", "n") else "f8") for name in HISTORY_COLUMNS])


class History(Ring):
    """The last `capacity` feature rows of one symbol."""

    __slots__ = ()

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, _DTYPE)

    def append(self, row: FeatureRow) -> None:
        """Add the newest row."""
        self.put(row[1:])

    def newest(self, limit: int, symbol: str) -> Iterator[FeatureRow]:
        """The newest `limit` rows, oldest first."""
        return (FeatureRow(symbol, *values) for values in self.rows(limit))
