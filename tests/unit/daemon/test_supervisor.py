"""Restarts of parts by the supervisor, and their end."""

from __future__ import annotations

import asyncio

import pytest

from volsvc.backoff import Backoff
from volsvc.daemon.supervisor import finish, supervise
from volsvc.domain import BusError, BusUnavailableError


class CountingListener:
    """A listener that records restarts."""

    def __init__(self) -> None:
        self.restarts: list[str] = []

    def restarting(self, part: str, error: BaseException, delay_s: float) -> None:
        self.restarts.append(part)


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

    async def part() -> None:
        runs.append(1)
        if len(runs) < 4:
            raise BusUnavailableError("away")

    await supervise("consumer", part, Backoff(0.001, 0.002), listener)
    assert len(runs) == 4
    assert listener.restarts == ["consumer"] * 3


@pytest.mark.parametrize("error", [BusError("never"), ValueError("a bug")])
async def test_any_other_error_is_fatal(error: Exception) -> None:
    """An error that is not transient is raised at once."""

    async def part() -> None:
        raise error

    with pytest.raises(type(error)):
        await supervise("consumer", part, Backoff(0.001, 0.002), CountingListener())


async def test_a_cancelled_task_beneath_restarts_the_part() -> None:
    """A part that awaits a cancelled task of a library is restarted."""
    listener, runs = CountingListener(), []

    async def part() -> None:
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

    async def part() -> None:
        started.set()
        await asyncio.sleep(9)

    task = asyncio.ensure_future(supervise("replica", part, Backoff(0.001, 0.002), listener))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not listener.restarts
