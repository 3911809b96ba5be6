"""Ticks of a recording whose times go back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from volsvc.domain.tick_columns import Integers, TickColumns
from volsvc.sources.kernels.lateness import find_late


class Late(NamedTuple):
    """The indices of late ticks, the times by which they are behind, and the lines of what.

    A tick is late if it is behind the newest one of its symbol before it.
    """

    indices: Integers
    behind_ns: Integers
    lines: Integers


class Lateness:
    """The newest tick of each symbol that a reading has come to."""

    def __init__(self) -> None:
        # By the number of the symbol; times are after 0.
        self._newest_ns = np.zeros(0, np.int64)
        self._newest_line = np.zeros(0, np.int64)

    def late(self, ticks: TickColumns, lines: Integers) -> Late:
        """Return the late ones of the next ticks, whose lines are given."""
        more = len(ticks.symbols) - len(self._newest_ns)
        if more > 0:
            self._newest_ns = np.append(self._newest_ns, np.zeros(more, np.int64))
            self._newest_line = np.append(self._newest_line, np.zeros(more, np.int64))
        found = Late(*(np.empty(len(ticks), np.int64) for _ in Late._fields))
        count = find_late(
            ticks.symbol, ticks.time_ns, lines, self._newest_ns, self._newest_line, *found
        )
        return Late(*(column[:count] for column in found))
