"""Restarts of parts by the supervisor, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from volsvc.backoff import Backoff
from volsvc.daemon.listeners import PartsListener
from volsvc.daemon.supervisor import finish, supervise
from volsvc.domain import BusError, BusUnavailableError
from volsvc.telemetry.health import Check, Health
from volsvc.telemetry.metrics import Metrics

Worked = Callable[[], None]


class CountingListener:
    """A listener that records restarts."""

    def __init__(self) -> None:
        self.restarts: list[str] = []
        self.recoveries: list[int] = []

    def restarting(self, part: str, error: BaseException, delay_s: float) -> None:
        self.restarts.append(part)

    def working(self, part: str) -> None:
        """Note the number of restarts before."""
        self.recoveries.append(len(self.restarts))


async def test_a_part_that_loses_a_cancellation_ends_all_the_same() -> None:
    """`finish` cancels a task again for as long as it runs."""
    cancellations = 0

    async def ignore_two() -> None:
        nonlocal cancellations
        while cancellations < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancellations += 1

    async with asyncio.timeout(60):
        task = asyncio.create_task(ignore_two())
        await asyncio.sleep(0)
        await finish(task, within_s=0, again_s=0.01)
    assert (cancellations, task.done()) == (3, True)


async def test_a_transient_error_restarts_the_part() -> None:
    """The part runs again until it ends by itself."""
    listener, runs = CountingListener(), []

    async def part(worked: Worked) -> None:
        runs.append(1)
        if len(runs) < 4:
            raise BusUnavailableError("away")

    await supervise("consumer", part, Backoff(0.001, 0.002), listener)
    assert len(runs) == 4
    assert listener.restarts == ["consumer"] * 3


@pytest.mark.parametrize("error", [BusError("never"), ValueError("a bug")])
async def test_any_other_error_is_fatal(error: Exception) -> None:
    """An error that is not transient is raised at once."""

    async def part(worked: Worked) -> None:
        raise error

    with pytest.raises(type(error)):
        await supervise("consumer", part, Backoff(0.001, 0.002), CountingListener())


async def test_a_part_works_again_when_it_says_so() -> None:
    """After any number of restarts it is the first work that counts, or the end."""
    listener, runs = CountingListener(), []

    async def part(worked: Worked) -> None:
        runs.append(1)
        if len(runs) in (3, 4):
            worked()
            worked()
        if len(runs) < 6:
            raise BusUnavailableError("away")

    await supervise("consumer", part, Backoff(0.001, 0.002), listener)
    assert len(listener.restarts) == 5
    assert listener.recoveries == [2, 3, 5]


async def test_a_part_that_does_no_work_shows_until_it_does() -> None:
    """Its check has the newest reason and its metric is 0, however often it starts again."""
    health, metrics, seen = Health(), Metrics(), []
    listener = PartsListener(metrics, health)

    def working() -> float | None:
        return metrics.registry.get_sample_value("volsvc_part_working", {"part": "consumer"})

    async def part(worked: Worked) -> None:
        seen.append((health.checks.get("consumer"), working()))
        if len(seen) < 4:
            raise BusUnavailableError(f"reason {len(seen)}")
        worked()
        assert (health.checks["consumer"], working()) == (Check("ok"), 1)

    await supervise("consumer", part, Backoff(0.001, 0.002), listener)
    failed = [(Check("degraded", f"restarts after: reason {n}"), 0) for n in (1, 2, 3)]
    assert seen == [(None, 1), *failed]


async def test_a_cancelled_task_beneath_restarts_the_part() -> None:
    """A part that awaits a cancelled task of a library is restarted."""
    listener, runs = CountingListener(), []

    async def part(worked: Worked) -> None:
        runs.append(1)
        if len(runs) < 3:
            beneath = asyncio.ensure_future(asyncio.sleep(9))
            beneath.cancel()
            await beneath

    await supervise("replica", part, Backoff(0.001, 0.002), listener)
    assert listener.restarts == ["replica"] * 2


async def test_a_part_ends_when_it_is_cancelled() -> None:
    """Cancelling the task of a supervised part ends it without a restart."""
    listener, started = CountingListener(), asyncio.Event()

    async def part(worked: Worked) -> None:
        started.set()
        await asyncio.sleep(9)

    task = asyncio.ensure_future(supervise("replica", part, Backoff(0.001, 0.002), listener))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not listener.restarts
