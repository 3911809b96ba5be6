"""Ticks through a real broker: the whole consumer, compared with a copy of the log and peers."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from tests.benchmarks.children import job
from tests.benchmarks.figures import Figure, Results, Row, at_least
from tests.benchmarks.market import PER_S, SYMBOLS, WARM_MINUTES, tick_records, warm_records
from tests.benchmarks.rounds import Bench, turns_of
from tests.benchmarks.versions import THEIRS, VERSIONS
from tests.kafka.filling import NullBusEvents, settings_of
from tests.kafka.fleet import PARTITIONS
from tests.kafka.log import create_topic
from volsvc.transport.kafka.bus import KafkaBus

COPY = "copy of the log"
SCRIPTS = {"volsvc": "jobs/ours.py", COPY: "jobs/raw.py"}
PEERS = {
    "Quix Streams, window alone": "peers/quix_window.py",
    "Bytewax, window alone": "peers/bytewax_window.py",
}
TARGETS = {COPY: at_least(0.6), **dict.fromkeys(PEERS, at_least(1.3))}

# Measure ticks per second, and µs of processor time per tick.
Took = tuple[float, float]


async def fill(servers: str, name: str, count: int) -> int:
    """Fill a topic with `count` ticks, after those that warm the states; return their number."""
    bus = KafkaBus(settings_of(servers, name), NullBusEvents(), "filler")
    await bus.ready()
    records = [*warm_records(), *tick_records(SYMBOLS, count // SYMBOLS, PER_S)] if count else []
    for start in range(0, len(records), 2_000):
        await bus.publish(f"{name}.raw", records[start : start + 2_000])
    await bus.stop()
    return len(records)


async def measure(bench: Bench) -> Results:
    """Run every job over the same topic, in turns."""
    name = uuid.uuid4().hex[:8]
    topic, count = f"{name}.raw", await fill(bench.servers, name, bench.sizes.kafka_ticks)
    jobs = {name: partial(job, sys.executable, script) for name, script in SCRIPTS.items()}
    if bench.v1 is not None:
        v1 = partial(
            job, bench.v1 / "python", THEIRS, "broker", SYMBOLS, WARM_MINUTES, PYTHONPATH=""
        )
        jobs[VERSIONS[1]] = v1
    if bench.peers is not None:
        jobs |= {name: partial(job, bench.peers, script) for name, script in PEERS.items()}

    def run(work: Callable[..., Awaitable[dict[str, Any]]]) -> Callable[[], Awaitable[Took]]:
        async def once() -> Took:
            out = uuid.uuid4().hex[:8]
            await create_topic(bench.servers, out, PARTITIONS)
            result = await work(bench.servers, topic, out, count, cwd=bench.folder)
            return result["count"] / result["seconds"], 1e6 * result["cpu_s"] / result["count"]

        return once

    found = await turns_of(bench.sizes.rounds, *map(run, jobs.values()))
    rates = {
        name: Figure(name, "ticks/s", [rate for rate, _ in took])
        for name, took in zip(jobs, found, strict=True)
    }
    costs = {
        name: Figure(name, "µs", [cost for _, cost in took])
        for name, took in zip(jobs, found, strict=True)
    }
    return Results(_rows(rates, costs))


def _rows(rates: dict[str, Figure], costs: dict[str, Figure]) -> list[Row]:
    what = "tick in, full state, features out, through a broker"
    ours, cost = rates.pop("volsvc"), costs.pop("volsvc")
    rows = []
    for name, theirs in rates.items():
        rows.append(Row(what, ours, theirs, TARGETS.get(name)))
    what = f"{what}: processor time a tick"
    return [*rows, *(Row(what, cost, theirs) for theirs in costs.values())]
