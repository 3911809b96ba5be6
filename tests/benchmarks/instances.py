"""One, two and three instances of a group, with the broker on the same processors."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

import aiohttp

from tests.benchmarks.children import server
from tests.benchmarks.figures import Curve, Results
from tests.benchmarks.rounds import Bench
from tests.benchmarks.stream import fill
from tests.daemon import eventually, metric_sum
from tests.kafka.fleet import PARTITIONS, environment, of_instance
from tests.load.tools import LOAD_CPU, SERVER_CPU

EVERY = f"{SERVER_CPU},{LOAD_CPU}"
READY_S, DONE_S = 60.0, 120.0
LOOK_S = 0.1


class Scrape(NamedTuple):
    """The figures of an instance's /metrics."""

    ticks: float
    cpu_s: float
    partitions: int


async def measure(bench: Bench) -> Results:
    """Measure ticks per second of all instances, and processor time per tick."""
    rates: list[tuple[float, float]] = []
    costs: list[tuple[float, float]] = []
    for number in bench.sizes.instances:
        rate, cost = await together(bench, number)
        rates.append((number, rate))
        costs.append((number, cost))
    where = f"{os.cpu_count()} processors, which the broker shares"
    even = [(number, rates[0][1] * number) for number, _ in rates]
    lines = {"together": rates, "even split": even}
    return Results(
        [],
        [
            Curve("instances", f"Instances of a group on {where}", "instances", "ticks/s", lines),
            Curve(
                *("instances-cost", "Processor time of a tick", "instances", "µs a tick"),
                {"all instances": costs},
            ),
        ],
    )


async def together(bench: Bench, number: int) -> tuple[float, float]:
    """Return ticks per second of `count` instances, and the µs of processor time per tick."""
    name = uuid.uuid4().hex[:8]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(aiohttp.ClientSession())
        urls = []
        for at in range(number):
            env = of_instance(environment(bench.servers, name), f"{name}-{at}")
            command = (sys.executable, "-m", "volsvc", "run", "--port", "0", "--source", "none")
            roles = ("--roles", "consumer,api")
            started = server(*command, *roles, cwd=bench.folder, cpu=EVERY, **env)
            urls.append((await stack.enter_async_context(started)).url)

        async def shared() -> bool:
            each = [one.partitions for one in await scraped(client, urls)]
            return sum(each) == PARTITIONS and min(each) > 0

        await eventually(shared, READY_S, f"{PARTITIONS} partitions among {number} instances")
        before = sum(one.cpu_s for one in await scraped(client, urls))
        filling = asyncio.create_task(fill(bench.servers, name, bench.sizes.kafka_ticks))
        began, ended = await _watched(client, urls, filling)
        used = sum(one.cpu_s for one in await scraped(client, urls)) - before
    count = filling.result()
    return count / (ended - began), 1e6 * used / count


async def _watched(
    client: aiohttp.ClientSession, urls: Sequence[str], filling: asyncio.Task[int]
) -> tuple[float, float]:
    """Return the times at which the first and the last tick had been applied."""
    began = 0.0

    async def done() -> bool:
        nonlocal began
        seen = sum(one.ticks for one in await scraped(client, urls))
        began = began or (time.monotonic() if seen else 0.0)
        return filling.done() and seen >= filling.result()

    await eventually(done, DONE_S, "every tick", LOOK_S)
    return began, time.monotonic()


async def scraped(client: aiohttp.ClientSession, urls: Sequence[str]) -> list[Scrape]:
    """Return the figures of every instance."""
    return await asyncio.gather(*(_scraped(client, url) for url in urls))


async def _scraped(client: aiohttp.ClientSession, url: str) -> Scrape:
    async with client.get(f"{url}/metrics") as response:
        text = await response.text()
    return Scrape(
        metric_sum(text, "volsvc_ticks_total"),
        metric_sum(text, "process_cpu_seconds_total"),
        text.count("\nvolsvc_kafka_consumer_lag_records{"),
    )
