"""Tests of the clock that moves over waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from time import perf_counter as real_clock

import pytest

pytestmark = pytest.mark.usefixtures("loop_clock")
# Longer than any of these tests really takes.
LONG_S, BUSY_S = 3_600.0, 60.0


async def test_waits_take_no_time() -> None:
    """Timers go off in order, and every clock has moved by as much as was waited for."""
    loop, began = asyncio.get_running_loop(), real_clock()
    clocks: tuple[Callable[[], float], ...] = (
        *(loop.time, time.time, time.monotonic, time.perf_counter),
        lambda: time.time_ns() / 1e9,
    )
    starts = [clock() for clock in clocks]
    ended: list[str] = []
    loop.call_later(LONG_S / 2, ended.append, "earlier")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.sleep(2 * LONG_S), LONG_S)
    assert ended == ["earlier"]
    for clock, start in zip(clocks, starts, strict=True):
        assert LONG_S <= clock() - start < LONG_S + BUSY_S
    assert real_clock() - began < BUSY_S


async def test_a_thread_is_waited_for() -> None:
    """No wait is cut short while a thread works."""
    async with asyncio.timeout(LONG_S):
        await asyncio.to_thread(time.sleep, 0.2)


async def test_data_are_waited_for() -> None:
    """No wait is cut short while data are on their way over loopback."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    sent = bytes(1_000_000)
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        async with asyncio.timeout(LONG_S):
            for _ in range(20):
                writer.write(sent)
                assert await reader.readexactly(len(sent)) == sent
        writer.close()
        await writer.wait_closed()
