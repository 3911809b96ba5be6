"""The order of a symbol's ticks: those within the tolerance wait, and leave by event time."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.features.kernels.apply import TICK

# Ticks of one symbol that wait at most. They are part of its state, whose record a broker takes up
# to 1 MB of: these are half of that.
MAX_WAITING: Final = 4_096


class TickOrder:
    """Ticks sorted by event time and, at the same time, by arrival.

    As long as none arrives later than the tolerance, they leave as from a sorted recording. Ticks
    are records of TICK.
    """

    __slots__ = ("_arrivals", "_heap", "_identities", "_tolerance_ns", "early", "ready")

    def __init__(self, tolerance_ns: int) -> None:
        self._tolerance_ns = tolerance_ns
        self._heap: list[tuple[int, int, Any]] = []
        self._identities: set[int] = set()
        self._arrivals = 0
        # Ticks whose turn has come.
        self.ready: deque[Any] = deque()
        # Ticks that left before their time, because too many waited.
        self.early = 0

    def __len__(self) -> int:
        return len(self.ready) + len(self._heap)

    def __contains__(self, identity: int) -> bool:
        """Return True if the tick with an identity waits."""
        return identity in self._identities

    def push(self, tick: Any, newest_ns: int) -> None:
        """Add a tick, and make those ready whose turn has come.

        `newest_ns` is the newest time added: none that is not late can come before them any more.
        """
        heap = self._heap
        heappush(heap, (int(tick["time_ns"]), self._arrivals, tick.copy()))
        self._identities.add(int(tick["identity"]))
        self._arrivals += 1
        self._take_due(newest_ns)
        if len(heap) > MAX_WAITING:
            self.early += 1
            self._leave()

    def _take_due(self, newest_ns: int) -> None:
        while self._heap and self._heap[0][0] <= newest_ns - self._tolerance_ns:
            self._leave()

    def _leave(self) -> None:
        tick = heappop(self._heap)[2]
        self._identities.discard(int(tick["identity"]))
        self.ready.append(tick)

    def drain(self) -> None:
        """Make all ready that wait, at the end of a recording."""
        while self._heap:
            self._leave()

    def waiting(self) -> NDArray[Any]:
        """Return the ticks that wait as an array of TICK, in the order in which they will leave."""
        ordered = sorted(self._heap, key=lambda entry: entry[:2])
        return np.array([*self.ready, *(tick for _, _, tick in ordered)], TICK)

    def restore(self, ticks: NDArray[Any], newest_ns: int) -> None:
        """Fill an empty order with ticks that waited, in their order.

        `newest_ns` is as in `push`: the turn of some may have come when the state was written.
        """
        self._heap = [(int(tick["time_ns"]), at, tick) for at, tick in enumerate(ticks)]
        heapify(self._heap)
        self._identities = {int(tick["identity"]) for tick in ticks}
        self._arrivals = len(ticks)
        self._take_due(newest_ns)
