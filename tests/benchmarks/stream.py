"""Ticks through a real broker: the whole consumer, compared with a copy of the log and peers."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.benchmarks.children import job
from tests.benchmarks.figures import Figure, Results, Row, at_least
from tests.benchmarks.market import tick_records
from tests.benchmarks.rounds import Bench, turns_of
from tests.kafka.filling import NullBusEvents, settings_of
from tests.kafka.fleet import PARTITIONS
from tests.kafka.log import create_topic
from volsvc.transport.kafka.bus import KafkaBus

# Busy markets: twenty ticks per second each, of which one is published with forecasts.
SYMBOLS, PER_S = 12, 20.0
SCRIPTS = {"volsvc": "jobs/ours.py", "copy of the log": "jobs/raw.py"}
PEERS = {
    "Quix Streams, window alone": "peers/quix_window.py",
    "Bytewax, window alone": "peers/bytewax_window.py",
}

# Measure ticks per second, and µs of processor time per tick.
Took = tuple[float, float]


async def fill(servers: str, name: str, count: int) -> int:
    """Fill a topic with ticks, and return their number."""
    bus = KafkaBus(settings_of(servers, name), NullBusEvents(), "filler")
    await bus.ready()
    records = tick_records(SYMBOLS, count // SYMBOLS, PER_S)
    for start in range(0, len(records), 2_000):
        await bus.publish(f"{name}.raw", records[start : start + 2_000])
    await bus.stop()
    return len(records)


async def measure(bench: Bench) -> Results:
    """Run every job over the same topic, in turns."""
    name = uuid.uuid4().hex[:8]
    topic, count = f"{name}.raw", await fill(bench.servers, name, bench.sizes.kafka_ticks)
    jobs = {name: (Path(sys.executable), script) for name, script in SCRIPTS.items()}
    if bench.peers is not None:
        jobs |= {name: (bench.peers, script) for name, script in PEERS.items()}

    def run(python: Path, script: str) -> Callable[[], Awaitable[Took]]:
        async def once() -> Took:
            out = uuid.uuid4().hex[:8]
            await create_topic(bench.servers, out, PARTITIONS)
            where = (bench.servers, topic, out, count)
            result = await job(python, script, *where, cwd=bench.folder)
            return result["count"] / result["seconds"], 1e6 * result["cpu_s"] / result["count"]

        return once

    found = await turns_of(bench.sizes.rounds, *(run(*each) for each in jobs.values()))
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
        rows.append(Row(what, ours, theirs, at_least(0.6 if name == "copy of the log" else 1)))
    what = f"{what}: processor time a tick"
    return [*rows, *(Row(what, cost, theirs) for theirs in costs.values())]
