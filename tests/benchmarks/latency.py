"""Delay from sending a tick to its forecast in /latest, at a thousand ticks per second."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import time
import uuid
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaProducer

from tests.benchmarks.children import job
from tests.benchmarks.figures import Figure, Results, Row, Target, at_most
from tests.benchmarks.market import symbol_of, walk
from tests.benchmarks.rounds import Bench
from tests.benchmarks.stream import fill
from volsvc.domain import Tick
from volsvc.features import MINUTE_NS
from volsvc.transport.codec import encode_tick

RATE = 1_000
# Enough symbols that ticks of one batch are of different ones, so that each becomes visible.
SYMBOLS = 100
STEP_S = 0.001
# Enough that every feature is known. What is learnt from an hour changes no delay, and takes long.
PAST_MINUTES = 5

Send = Callable[[list[Tick]], Awaitable[None]]


async def paced(send: Send) -> None:
    """Send ticks at a steady rate, each with its sending time, until cancelled.

    A tick a minute of every symbol goes before, so that every feature of the others is known.
    """
    prices, now_ns = itertools.cycle(walk()), time.time_ns()
    for minute in range(-PAST_MINUTES, 0):
        time_ns = now_ns + minute * MINUTE_NS
        await send([Tick(symbol_of(at), time_ns, next(prices)) for at in range(SYMBOLS)])
    began, sent = time.perf_counter(), 0
    while True:
        due = int((time.perf_counter() - began) * RATE)
        now_ns = time.time_ns()
        if due > sent:
            numbers = range(sent, due)
            await send([Tick(symbol_of(at % SYMBOLS), now_ns, next(prices)) for at in numbers])
            sent = due
        await asyncio.sleep(STEP_S)


async def measure(bench: Bench) -> Results:
    """Measure in process and on a broker."""
    results = await in_process(bench)
    results.add(await on_a_broker(bench))
    return results


async def in_process(bench: Bench) -> Results:
    """Measure on the in-process bus, with the sender in the same process."""
    found = [await delays_ms(bench, "") for _ in range(bench.sizes.rounds)]
    return _rows("in process", found, at_most(1, "figure"))


async def on_a_broker(bench: Bench) -> Results:
    """Measure on a broker, with the sender in another process."""
    found = [await delays_ms(bench, bench.servers) for _ in range(bench.sizes.rounds)]
    return _rows("on Kafka", found, at_most(5, "figure"))


def _rows(where: str, found: list[list[float]], bound: Target) -> Results:
    what = f"tick to visible in /latest at {RATE:,} ticks/s, {where}"
    cuts = [statistics.quantiles(delays, n=100, method="inclusive") for delays in found]
    middle, slow = (Figure("volsvc", "ms", [cut[at] for cut in cuts]) for at in (49, 98))
    return Results([Row(f"{what}: p50", middle, None, bound), Row(f"{what}: p99", slow)])


async def delays_ms(bench: Bench, servers: str) -> list[float]:
    """Return the delays of one run."""
    name = uuid.uuid4().hex[:8]
    wanted = round(bench.sizes.latency_s * RATE)
    run = job(sys.executable, "jobs/latency.py", servers, name, wanted, cwd=bench.folder)
    if not servers:
        return list((await run)["delays_ms"])
    await fill(servers, name, 0)
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()

    async def send(ticks: list[Tick]) -> None:
        for tick in ticks:
            record = encode_tick(tick)
            await producer.send(f"{name}.raw", record.value, key=record.key)

    feeding = asyncio.create_task(paced(send))
    try:
        return list((await run)["delays_ms"])
    finally:
        feeding.cancel()
        await asyncio.wait({feeding})
        await producer.stop()
