"""Ring buffers of the newest rows of a symbol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class Ring:
    """The last `capacity` rows of a structured array.

    It starts with 16 rows and doubles, since of many symbols most have few ticks.
    """

    __slots__ = ("_count", "_rows", "capacity")

    def __init__(self, capacity: int, dtype: np.dtype[Any]) -> None:
        self.capacity = capacity
        self._rows = np.zeros(min(capacity, 16), dtype)
        self._count = 0

    def __len__(self) -> int:
        return min(self._count, self.capacity)

    def put(self, values: tuple[Any, ...]) -> None:
        """Add the newest row; the oldest one leaves a full ring."""
        size = len(self._rows)
        if self._count == size < self.capacity:
            grown = np.zeros(min(size * 2, self.capacity), self._rows.dtype)
            grown[:size] = self._rows
            self._rows = grown
        self._rows[self._count % len(self._rows)] = values
        self._count += 1

    def rows(self, limit: int) -> Iterator[Any]:
        """Yield the newest `limit` rows as tuples, oldest first."""
        for index in range(self._count - min(limit, len(self)), self._count):
            yield self._rows[index % len(self._rows)].tolist()
