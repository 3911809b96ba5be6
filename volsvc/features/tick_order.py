"""The order of a symbol's ticks: those within the tolerance wait, and leave by event time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Final

from volsvc.domain import Tick

# Ticks of one symbol that wait at most. They are part of its state, whose record a broker takes up
# to 1 MB of: these are half of that.
MAX_WAITING: Final = 4_096


class TickOrder:
    """Ticks sorted by event time and, at the same time, by arrival.

    As long as none arrives later than the tolerance, they leave as from a sorted recording.
    """

    __slots__ = ("_arrivals", "_heap", "_tolerance_ns", "early")

    def __init__(self, tolerance_ns: int) -> None:
        self._tolerance_ns = tolerance_ns
        self._heap: list[tuple[int, int, Tick]] = []
        self._arrivals = 0
        # Ticks that left before their time, because too many waited.
        self.early = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, tick: Tick, newest_ns: int) -> Iterator[Tick]:
        """Add a tick, and yield those whose turn has come; `newest_ns` is the newest time added.

        None that is not late can come before them any more.
        """
        heap = self._heap
        heappush(heap, (tick.time_ns, self._arrivals, tick))
        self._arrivals += 1
        while heap and heap[0][0] <= newest_ns - self._tolerance_ns:
            yield heappop(heap)[2]
        if len(heap) > MAX_WAITING:
            self.early += 1
            yield heappop(heap)[2]

    def drain(self) -> Iterator[Tick]:
        """Yield all that wait, which are then gone."""
        while self._heap:
            yield heappop(self._heap)[2]

    def first(self) -> Tick | None:
        """Return the tick that will leave first."""
        return self._heap[0][2] if self._heap else None

    def waiting(self) -> Sequence[Tick]:
        """Return the ticks that wait, in the order in which they will leave."""
        return [tick for _, _, tick in sorted(self._heap, key=lambda entry: entry[:2])]

    def restore(self, ticks: Iterable[Tick]) -> None:
        """Fill an empty order with ticks that waited, in their order."""
        # Sorted already, which a heap may be.
        self._heap = [(tick.time_ns, index, tick) for index, tick in enumerate(ticks)]
        self._arrivals = len(self._heap)
