"""The scenarios of the load report."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp

from tests.load.streams import not_reading, watching
from tests.load.tools import BODY, Figures, Service, capacity, hey, paced

OVERLOAD_CONNECTIONS = 500


async def bursts(served: Service, size: int, times: int) -> Figures:
    """Send bursts of `size` requests over new connections."""
    parts = [
        await hey("", served.url, "-n", str(size), "-c", str(size), "-disable-keepalive")
        for _ in range(times)
    ]
    statuses: Counter[int] = sum((part.statuses for part in parts), Counter())
    taken = [t for part in parts for t in part.times_ms]
    seconds = sum(part.seconds for part in parts)
    name = f"burst of {size} at once, {times} times"
    return Figures(name, seconds, statuses, taken, "new connections each time")


async def steady(served: Service, rate: float) -> Figures:
    """Load the service with half of its capacity."""
    return await paced("steady, half of capacity", served.url, rate / 2, 20, 32)


async def ramp(served: Service, rate: float) -> list[Figures]:
    """Raise the load in steps to capacity and beyond."""
    shares = (0.25, 0.5, 0.75, 1.0, 1.25)
    return [
        await paced(f"ramp, {share:.0%} of capacity", served.url, share * rate, 6, 64)
        for share in shares
    ]


@asynccontextmanager
async def sampled(served: Service, into: list[float], every_s: float = 0.5) -> AsyncIterator[None]:
    """Sample the resident memory in MB while the block runs."""

    async def sample() -> None:
        while True:
            into.append(served.rss_mb())
            await asyncio.sleep(every_s)

    task = asyncio.create_task(sample())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def overload(served: Service, rate: float, seconds: float) -> Figures:
    """Load the service with twice its capacity, and measure the time to recovery."""
    memory: list[float] = []
    before = served.rss_mb()
    async with sampled(served, memory):
        found = await paced(
            f"overload, twice capacity for {seconds:g} s",
            served.url,
            2 * rate,
            seconds,
            OVERLOAD_CONNECTIONS,
        )
    recovered_s = await recovery(served)
    note = (
        f"memory {before:.0f} to {max(memory):.0f} MB; "
        f"{'not recovered' if recovered_s is None else f'as before after {recovered_s:.2f} s'}"
    )
    return replace(found, note=note)


async def recovery(served: Service, within_s: float = 10) -> float | None:
    """Return the seconds until twenty requests in a row are 200 in under 50 ms."""
    started, good = time.monotonic(), 0
    async with aiohttp.ClientSession(served.url) as client:
        while time.monotonic() - started < within_s:
            asked = time.monotonic()
            async with client.post("/predict", data=BODY) as response:
                await response.read()
            fast = response.status == 200 and time.monotonic() - asked < 0.05
            good = good + 1 if fast else 0
            if good == 20:
                return time.monotonic() - started
    return None


async def thousand_streams(served: Service, rate: float) -> tuple[Figures, Figures]:
    """Run a thousand clients of /stream beside a steady load of requests."""
    async with watching(served.url, 1_000) as watched:
        await asyncio.sleep(2)
        watched.delays_ms.clear()
        events, started = watched.events, time.monotonic()
        requests = await paced("requests beside 1,000 streams", served.url, rate / 4, 15, 32)
        seconds = time.monotonic() - started
        count = watched.events - events
        note = f"{watched.clients} clients, {watched.ended} lost, {watched.dropped} conflated"
        delays = list(watched.delays_ms)
    return (
        Figures("1,000 streams: event to client", seconds, Counter({200: count}), delays, note),
        requests,
    )


async def slow_readers(served: Service, rate: float) -> Figures:
    """Run two hundred clients that request much and read nothing, beside a steady load."""
    stream = b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
    history = b"GET /history/BTC-USD?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n" * 20
    before, memory = served.rss_mb(), list[float]()
    async with (
        not_reading(served.url, stream, 100),
        not_reading(served.url, history, 100),
        sampled(served, memory),
    ):
        found = await paced("requests beside 200 slow readers", served.url, rate / 4, 15, 32)
    return replace(found, note=f"memory {before:.0f} to {max(memory):.0f} MB")


async def all_of(served: Service, seconds: float) -> tuple[float, list[Figures]]:
    """Run every scenario; return the capacity in requests per second, and the figures."""
    await capacity(served.url, 3)
    rate = await capacity(served.url)
    found = [await bursts(served, 100, 10), await bursts(served, 1_000, 3)]
    found.append(await steady(served, rate))
    found += await ramp(served, rate)
    found += await thousand_streams(served, rate)
    found.append(await slow_readers(served, rate))
    found.append(await overload(served, rate, seconds))
    return rate, found
