"""Ticks that wait for older ones, where `features.late_tolerance_s` makes them wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.features.applied import SLICE_TICKS, Applied, Buffers, TableArrays
from volsvc.features.kernels import apply
from volsvc.features.kernels.prints import WAITING_TICK
from volsvc.features.kernels.tick_check import NEW
from volsvc.features.tick_order import TickOrder

# Fields of a tick that waits in a state.
_OF_WAITING: Final = [name for name in apply.TICK.names or () if name in (WAITING_TICK.names or ())]


class OrderedTicks:
    """The ticks that wait, by the row of their symbol; they are applied one by one."""

    def __init__(self, late_ns: int) -> None:
        """Let ticks wait for those that are older by up to `late_ns`; with 0 none waits."""
        self._late_ns = late_ns
        self._orders: dict[int, TickOrder] = {}
        # Rows whose restored states have ticks to apply: they were written between two ticks of one
        # record, or under a longer tolerance.
        self._unfinished: list[int] = []

    def __bool__(self) -> bool:
        return self._late_ns > 0

    def order(self, row: int) -> TickOrder | None:
        """Return the ticks of a symbol that wait; None if none does without a tolerance."""
        if not self._late_ns:
            return self._orders.get(row)
        return self._orders.setdefault(row, TickOrder(self._late_ns))

    def drop(self, row: int) -> None:
        """Forget the ticks of a symbol."""
        self._orders.pop(row, None)
        if row in self._unfinished:
            self._unfinished.remove(row)

    def take_early(self) -> list[tuple[int, int]]:
        """Return rows and numbers of ticks that did not wait their time since the last call."""
        early = [(row, order.early) for row, order in self._orders.items() if order.early]
        for row, _ in early:
            self._orders[row].early = 0
        return early

    def apply(self, arrays: TableArrays, batch: Any, first: int, buffers: Buffers) -> Applied:
        """Check the ticks of a batch from `first` on, and apply those whose turn has come."""
        parts = _Parts(buffers)
        for index in range(first, len(batch)):
            tick = batch[index : index + 1]
            row = int(tick["symbol"][0])
            order = self.order(row)
            assert order is not None, "only with a tolerance ticks wait"
            # The rest of an earlier call goes on.
            if not order.ready and parts.check(arrays, tick, index, order) == NEW:
                order.push(tick[0], int(arrays.records[row].ticks.check.last_ns))
            parts.take_turns(arrays, row, index, order)
            if order.ready:
                return parts.applied(index)
        return parts.applied(len(batch))

    def restore(self, ticks: Any, row: int, outside: NDArray[Any]) -> None:
        """Have the ticks of a restored state wait; `ticks` is its record (TICKS)."""
        order = self._orders[row] = TickOrder(self._late_ns)
        waiting = outside.copy()
        waiting["symbol"] = row
        order.restore(waiting, int(ticks.check.last_ns))
        if ticks.next.present:
            first = np.zeros(1, apply.TICK)
            for name in _OF_WAITING:
                first[name] = ticks.next[name]
            first["symbol"] = row
            order.ready.appendleft(first[0])
            ticks.next.present = 0
        ticks.outside = len(order)
        if order.ready:
            self._unfinished.append(row)
        elif not self._late_ns:
            del self._orders[row]

    @property
    def unfinished(self) -> bool:
        """True if restored states have ticks to apply, before any others."""
        return bool(self._unfinished)

    def apply_unfinished(self, arrays: TableArrays, first: int, buffers: Buffers) -> Applied:
        """Apply the ticks that restored states have to apply; `first` is the next of the batch."""
        parts = _Parts(buffers)
        while self._unfinished:
            row = self._unfinished[0]
            order = self._orders[row]
            parts.take_turns(arrays, row, first, order)
            if order.ready:
                break
            self._unfinished.pop(0)
            if not self._late_ns:
                del self._orders[row]
        return parts.applied(first)

    def finish(self, arrays: TableArrays, buffers: Buffers) -> Iterator[Applied]:
        """Apply all ticks that wait, at the end of a recording."""
        for row, order in self._orders.items():
            order.drain()
            while order.ready:
                parts = _Parts(buffers)
                parts.take_turns(arrays, row, 0, order)
                yield parts.applied(0)


class _Parts:
    """Results of single ticks, collected until the room for points is used up."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._count = 0
        # A turn may apply a tick that was held, and the next one.
        self._turns_left = SLICE_TICKS // 2
        self._results: list[Any] = []
        self._rows: list[Any] = []
        self._outside: dict[int, NDArray[Any]] = {}

    def _new(self) -> tuple[Any, Any]:
        result, rows = self._buffers.results(1)
        self._results.append(result)
        self._rows.append(rows)
        return result, rows

    def check(self, arrays: TableArrays, tick: Any, index: int, order: TickOrder) -> int:
        """Classify a tick, and return its status."""
        result, _ = self._new()
        tick["seen"] = int(tick["identity"][0]) in order
        status = apply.check_tick(arrays.records, arrays.options, tick, result)
        result["tick"] = index
        return int(status)

    def take_turns(self, arrays: TableArrays, row: int, index: int, order: TickOrder) -> None:
        """Apply the ticks that are ready, while there is room for their points and windows."""
        ticks, buffers = arrays.records[row].ticks, self._buffers
        most = int(arrays.options["most_points"][0])
        while order.ready and self._turns_left and self._count + most <= len(buffers.points):
            self._turns_left -= 1
            result, rows = self._new()
            turn = np.array([order.ready.popleft()], apply.TICK)
            # A state that is copied at one of the points waits for the others.
            ticks.outside = len(order)
            first = self._count
            points, copies = buffers.points[first:], buffers.copies[first:]
            _, more = apply.apply_ticks(*arrays, turn, 0, True, result, points, copies, rows)
            result["tick"] = index
            points["tick"][:more] = index
            if more:
                waiting = order.waiting()
                self._outside |= dict.fromkeys(range(first, first + more), waiting)
            self._count += more
        ticks.outside = len(order)

    def applied(self, done: int) -> Applied:
        """Return what was collected; `done` is the first tick of the batch that is left."""
        results, rows = self._buffers.results(0)
        if self._results:
            results = np.concatenate(self._results)
            rows = np.concatenate(self._rows)
        points, copies = (
            part[: self._count] for part in (self._buffers.points, self._buffers.copies)
        )
        return Applied(done, points, results, rows, copies, self._outside)
