"""Arrays of the table of symbols, and what applying ticks to them gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.features.kernels import apply, points, price_window, record

# Ticks that may be applied between a point and the publication of its state: until then the ring
# keeps its window.
SLICE_TICKS: Final = 512


class TableArrays(NamedTuple):
    """The arrays that a tick changes: records of STATE, and the rings of prices and their times.

    `options` are one record of OPTIONS.
    """

    records: Any
    prices: NDArray[np.float64]
    times: NDArray[np.int64]
    options: Any


class Applied(NamedTuple):
    """The result of applying ticks of a batch: the index of the first one left, and arrays.

    `points` are POINT records. `results` are those of RESULT, one for each tick and one for each
    that had waited, and `rows` the features after the ticks that these applied (ROW), of shape
    (results, 2). `copies` are the states of ticks (TICKS) at the points of the publishing grid, and
    `outside` the ticks that wait there, by the index of the point. Points and copies hold until the
    next call.
    """

    next: int
    points: Any
    results: Any
    rows: Any
    copies: Any
    outside: Mapping[int, NDArray[Any]]


class Buffers:
    """Room for the points of one call; copies and rows only where they are asked for."""

    def __init__(self, max_points: int, *, copies: bool = False, rows: bool = False) -> None:
        self._with_rows = rows
        self.points: Any = np.zeros(max_points, points.POINT)
        copied = np.zeros(max_points if copies else 0, record.TICKS)
        self.copies: Any = copied

    def results(self, count: int) -> tuple[Any, Any]:
        """Return new results for a number of ticks, and room for the rows after them."""
        rows = np.zeros((count if self._with_rows else 0, 2), price_window.ROW)
        return np.zeros(count, apply.RESULT), rows
