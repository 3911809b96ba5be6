"""Delays of the backoff, and bounded ends of tasks."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from volsvc.backoff import Backoff, ends_within


def test_delays_grow_jitter_and_are_bounded() -> None:
    """The ceiling doubles up to the maximum; delays spread below it; a reset starts again."""
    for attempt in range(12):
        delays = set()
        for _ in range(200):
            backoff = Backoff(0.1, 5.0)
            for _ in range(attempt):
                backoff.delay_s()
            delays.add(backoff.delay_s())
        ceiling = min(5.0, 0.1 * 2**attempt)
        assert max(delays) <= ceiling
        assert max(delays) > 0.8 * ceiling
        assert min(delays) < 0.2 * ceiling
    backoff = Backoff(0.1, 5.0)
    assert all(backoff.delay_s() <= 5.0 for _ in range(5_000))
    backoff.reset()
    assert backoff.delay_s() <= 0.1


async def test_a_cancelled_task_ends_within_its_time() -> None:
    """An end that hangs is cancelled, and the rest takes place, also after a cancellation."""
    ended = []

    async def hang(name: str) -> None:
        try:
            await asyncio.sleep(3_600)
        finally:
            ended.append(name)

    async def work() -> None:
        try:
            await hang("work")
        finally:
            assert not await ends_within(hang("first"), 0.01)
            assert not await ends_within(hang("second"), 0.01)
            assert await ends_within(asyncio.sleep(0), 60)
            ended.append("whole")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert ended == ["work", "first", "second", "whole"]


async def test_an_end_that_fails_or_is_cancelled_from_inside() -> None:
    """An error is raised; a cancellation by others is an end, and none of the task that waits."""

    async def fail() -> None:
        raise ValueError("not so")

    with pytest.raises(ValueError, match="not so"):
        await ends_within(fail(), 60)
    inner = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(inner.cancel)
    assert await ends_within(inner, 60)
