"""Release recorded ticks at the pace of their event times.

The schedule is absolute: tick i is due at start + (t_i - t_0) / speed. So the pace does not drift
over hours, and after a stall the replay catches up at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence

from volsvc.domain import NS, SourceRow

# Ticks due within this time are released together, because timers are not finer.
RESOLUTION_S = 0.001


class Schedule:
    """Maps event times to times of a monotonic clock, in seconds, from the first event on."""

    def __init__(self, speed: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._speed = speed
        self._clock = clock
        self._first_ns: int | None = None
        self._start_s = 0.0

    def wait_s(self, time_ns: int) -> float:
        """Return the seconds until a tick of this event time is due, negative if it is overdue."""
        if self._first_ns is None:
            self._first_ns, self._start_s = time_ns, self._clock()
        due_s = self._start_s + (time_ns - self._first_ns) / NS / self._speed
        return due_s - self._clock()


async def paced(
    batches: AsyncIterator[Sequence[SourceRow]],
    speed: float,
    report_late: Callable[[float], None],
    schedule: Schedule | None = None,
) -> AsyncIterator[Sequence[SourceRow]]:
    """Yield the same rows, each when it is due at `speed` times real time (inf: at once).

    `report_late` is called after each batch with the seconds by which it is behind schedule.
    """
    schedule = schedule or Schedule(speed)
    async for batch in batches:
        if math.isinf(speed):
            yield batch
            continue
        start = 0
        for index, row in enumerate(batch):
            wait = schedule.wait_s(row.tick.time_ns)
            if wait < RESOLUTION_S:
                continue
            if index > start:
                yield batch[start:index]
                start = index
            # Computed anew, because the consumer of the batch above may have taken its time.
            await asyncio.sleep(max(0.0, schedule.wait_s(row.tick.time_ns)))
        report_late(max(0.0, -schedule.wait_s(batch[-1].tick.time_ns)))
        yield batch[start:]
