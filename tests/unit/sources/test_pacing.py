"""Tests of the pace of a replay, on a simulated clock."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence

import pytest

from volsvc.domain import NS, SourceRow, Tick
from volsvc.sources.pacing import RESOLUTION_S, Schedule, paced

START = 1_767_571_200 * NS


class Clock:
    """A clock that advances with each sleep, by a little more than requested, as real ones do."""

    def __init__(self, overshoot: float = 0.0) -> None:
        self.now = 1_000.0
        self.overshoot = overshoot
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds + self.overshoot


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("volsvc.sources.pacing.asyncio.sleep", clock.sleep)
    return clock


async def batches(times_s: Sequence[float], size: int = 100) -> AsyncIterator[Sequence[SourceRow]]:
    rows = [SourceRow(i, Tick("A", START + round(at * NS), 1.0)) for i, at in enumerate(times_s)]
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


async def release(
    clock: Clock, times_s: Sequence[float], speed: float
) -> tuple[list[tuple[float, float]], list[float]]:
    """Return event and release time of every row, in seconds from the start, and the lateness."""
    began, seen, late = clock.now, [], list[float]()
    async for batch in paced(batches(times_s), speed, late.append, Schedule(speed, clock)):
        seen += [((row.tick.time_ns - START) / NS, clock.now - began) for row in batch]
    return seen, late


@pytest.mark.parametrize("speed", [0.5, 1, 10, 123.4])
async def test_no_drift_over_hours(clock: Clock, speed: float) -> None:
    """After ten hours of event time with an imprecise timer each tick is still released on time."""
    clock.overshoot = 0.002
    times = [i * 7.3 for i in range(5_000)]
    seen, _ = await release(clock, times, speed)
    assert len(seen) == len(times)
    assert all(-RESOLUTION_S < released - at / speed < 2 * clock.overshoot for at, released in seen)


async def test_catches_up_after_a_stall(clock: Clock) -> None:
    """Ticks that became due in a stall are released at once; the pace is as before afterwards."""
    times = [float(i) for i in range(300)]
    seen, late, stalled = [], list[float](), False
    began = clock.now
    async for batch in paced(batches(times, 10), 1, late.append, Schedule(1, clock)):
        seen += [(row.tick.time_ns - START, clock.now - began) for row in batch]
        if not stalled and clock.now - began >= 50:
            stalled = True
            clock.now += 60
    assert max(late) == pytest.approx(60, abs=11), "and it reports how late it was"
    assert late[-1] == 0
    behind = [released - at / NS for at, released in seen]
    assert max(behind) == pytest.approx(60, abs=1)
    assert all(abs(b) < 0.01 for (at, _), b in zip(seen, behind, strict=True) if at > 120 * NS)


async def test_full_speed_never_waits(clock: Clock) -> None:
    """Nothing waits at the speed `max`."""
    seen, late = await release(clock, [0, 10, 20_000], math.inf)
    assert [at for at, _ in seen] == [0, 10, 20_000]
    assert clock.sleeps == late == []


async def test_times_that_go_back_are_released_at_once(clock: Clock) -> None:
    """A tick whose time goes back neither waits nor changes the schedule."""
    seen, _ = await release(clock, [0, 10, 5, 11], 1)
    assert [released for _, released in seen] == pytest.approx([0, 10, 10, 11])


async def test_real_clock() -> None:
    """Rows are released one by one on the real clock, and not before they are due."""
    loop = asyncio.get_running_loop()
    began, seen = loop.time(), []
    async for batch in paced(batches([0, 0.05, 0.1]), 1, lambda late: None):
        seen += [(row.tick.time_ns - START, loop.time() - began) for row in batch]
    assert len(seen) == 3
    assert all(released >= at / NS - 2 * RESOLUTION_S for at, released in seen)
