"""Capacity of one instance, and resources for ten thousand times that: `make bench-scaling`.

Measures one instance on a broker of its own, then does the arithmetic of docs/scaling.md with what
was measured. Processor time is the steady figure; rates swing with what else the machine does.
"""

from __future__ import annotations

import asyncio
import math
import os
import platform
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.daemon import RunningDaemon, command, eventually, running
from tests.kafka.broker import Broker
from tests.kafka.filling import fill, settings_of, warm_record
from tests.kafka.fleet import PARTITIONS, environment
from tests.kafka.log import read_topic
from volsvc.commands.files import generate_file

START = "2026-01-05T14:00:00Z"
SYMBOLS = 10_000
# Planned share of a core per instance; the rest is for bursts and requests.
BUSY = 0.6
# Share of a core for the features of other instances; it bounds the size of a cell.
FOLLOWING = 0.15
# One exchange: its symbols, and their ticks per second.
BASE_SYMBOLS, BASE_TICKS = 500, 2_000
PARTITION_BYTES = 10e6
# Planned bytes per second of one partition and of one broker, replication included.
BROKER_BYTES = 100e6
REPLICAS = 3


@dataclass(frozen=True)
class Measured:
    """The measured costs, in seconds of processor time and in bytes."""

    tick_s: float
    tick_bytes: float
    record_bytes: float
    follow_s: float
    restore_s: float
    symbol_bytes: float


async def usage(daemon: RunningDaemon) -> float:
    """Return the processor seconds that a daemon has used."""
    return await daemon.metric("process_cpu_seconds_total")


@asynccontextmanager
async def broker_in(folder: Path) -> AsyncIterator[Broker]:
    """Yield a running broker."""
    broker = Broker(folder / "broker")
    await asyncio.to_thread(broker.start)
    try:
        yield broker
    finally:
        await asyncio.to_thread(broker.kill)


def size_of(folder: Path, topic: str) -> int:
    """Return the bytes of a topic on the broker's disk."""
    logs = folder.glob(f"broker/data/{topic}-*/*.log")
    return sum(path.stat().st_size for path in logs)


async def consumed(
    servers: str, folder: Path, symbols: int, minutes: float
) -> tuple[float, float, float, str]:
    """Consume ticks of `symbols` markets from a topic that is full of them.

    Returns processor seconds a tick, wall-clock ticks a second, features records a tick, and the
    topics' name.
    """
    names = tuple(f"S{number}-USD" for number in range(symbols))
    path = folder / f"{symbols}.ndjson"
    generate_file(path, minutes=minutes, seed=1, symbols=names, start=START)
    rows = path.read_bytes().count(b"\n")
    name = uuid.uuid4().hex[:8]
    env = environment(servers, name)
    code, _, err = await command("replay", str(path), "--speed", "max", env=env, cwd=folder)
    assert code == 0, err
    arguments = ("--source", "none", "--roles", "consumer,api")
    async with running(*arguments, env=env, cwd=folder) as daemon:
        began, used = time.perf_counter(), await usage(daemon)

        async def done() -> bool:
            return await daemon.metric("volsvc_ticks_total") >= rows

        await eventually(done, 300, f"{rows} ticks", 0.25)
        used, took = await usage(daemon) - used, time.perf_counter() - began
        await daemon.stop()
    return used / rows, rows / took, rows / (minutes * 60), name


async def restored(servers: str, folder: Path) -> tuple[float, float, float, float]:
    """Measure the cost of SYMBOLS symbols in the log for an instance that starts.

    Returns seconds until a new owner has their states, bytes of memory that each takes, processor
    seconds that each costs an instance that only follows, and bytes of each record uncompressed.
    """
    recording = folder / "warm.ndjson"
    generate_file(recording, minutes=20, seed=11, symbols=("BTC-USD",), start=START)
    warm = await warm_record(servers, recording, folder)
    name = uuid.uuid4().hex[:8]
    await fill(settings_of(servers, name), warm, SYMBOLS)
    env = environment(servers, name)
    async with running("--source", "none", "--roles", "api", env=env, cwd=folder) as reader:
        used = await usage(reader)

        async def known() -> bool:
            return await reader.status("/health/ready") == 200

        await eventually(known, 120, "the table is known")
        follow_s = (await usage(reader) - used) / SYMBOLS
        await reader.stop()
    arguments = ("--source", "none", "--roles", "consumer,api")
    async with running(*arguments, env=env, cwd=folder) as owner:
        began, empty = time.perf_counter(), await owner.metric("process_resident_memory_bytes")

        async def have_all() -> bool:
            return await owner.metric("volsvc_symbols") == SYMBOLS

        await eventually(have_all, 120, "every state", 0.1)
        took = time.perf_counter() - began
        memory = (await owner.metric("process_resident_memory_bytes") - empty) / SYMBOLS
        await owner.stop()
    return took, memory, follow_s, len(warm)


async def measure(folder: Path) -> Measured:
    """Measure one instance; of the costs at two shapes of load the higher one counts."""
    async with broker_in(folder) as broker:
        servers = broker.bootstrap_servers
        print("| measured | |\n| --- | --- |")
        costs, sizes = [], []
        # Nothing has matured in the first minute of a symbol, and its forecasts cost less.
        for symbols, minutes in ((3, 60.0), (500, 3.0)):
            cost, rate, per_s, name = await consumed(servers, folder, symbols, minutes)
            costs.append(cost)
            each = per_s / symbols
            what = f"{rate:,.0f} ticks/s, {cost * 1e6:.0f} µs of processor a tick"
            print(
                f"| {symbols} symbols at {each:.1f} ticks/s each, a record each second | {what} |"
            )
            tick_bytes = size_of(folder, f"{name}.raw") / (per_s * minutes * 60)
            records = len(await read_topic(servers, f"{name}.features", PARTITIONS))
            sizes.append(size_of(folder, f"{name}.features") / records)
        took, memory, follow_s, raw = await restored(servers, folder)
        print(f"| a tick on the broker's disk | {tick_bytes:.0f} bytes |")
        print(f"| a warm features record there (as JSON {raw:,}) | {sizes[0]:,.0f} bytes |")
        print(f"| a record of another instance | {follow_s * 1e6:.0f} µs of processor |")
        print(f"| restore of {SYMBOLS:,} symbols | {took:.1f} s |")
        print(f"| memory of a symbol | {memory / 1e3:.0f} kB |")
    return Measured(
        tick_s=max(costs),
        tick_bytes=tick_bytes,
        record_bytes=sizes[0],
        follow_s=follow_s,
        restore_s=took / SYMBOLS,
        symbol_bytes=memory,
    )


def arithmetic(m: Measured, times: int, every_s: float) -> str:
    """Return a row of the table: `times` the base load, published every `every_s` seconds.

    Every instance of a cell follows all of the cell's records, so their number decides how large a
    cell may be: topics and a group of their own, found by the symbol's name.
    """
    # Records of the grid, and as many of flushes, which come as often (kafka.commit_interval_s).
    records = BASE_SYMBOLS * times * 2 / every_s
    cells = math.ceil(records * m.follow_s / FOLLOWING)
    symbols, ticks = BASE_SYMBOLS * times / cells, BASE_TICKS * times / cells
    records /= cells
    own, follow = ticks * m.tick_s, records * m.follow_s
    instances = math.ceil(own / (BUSY - follow))
    table = records * m.record_bytes
    into_broker = ticks * m.tick_bytes + table
    partitions = max(6, math.ceil(into_broker / PARTITION_BYTES), 2 * instances)
    brokers = math.ceil(cells * max(into_broker * REPLICAS, table * instances) / BROKER_BYTES)
    cells_of_row = (
        f"{times:,}",
        f"{BASE_SYMBOLS * times:,}",
        f"{BASE_TICKS * times:,}",
        f"{every_s:g}",
        f"{cells:,}",
        f"{own:.1f}",
        f"{follow:.2f}",
        f"{table / 1e6:.1f}",
        f"{instances:,}",
        f"{cells * instances:,}",
        f"{partitions:,}",
        f"{max(3, brokers):,}",
        f"{symbols * m.symbol_bytes / instances / 1e6:,.0f}",
        f"{symbols / instances * m.restore_s:.1f}",
    )
    return "| " + " | ".join(cells_of_row) + " |"


HEAD = (
    "times",
    "symbols",
    "ticks/s",
    "published each, s",
    "cells",
    "cores a cell for ticks",
    "cores an instance to follow",
    "MB/s into an instance",
    "instances a cell",
    "instances",
    "partitions a cell",
    "brokers",
    "state an instance, MB",
    "restore, s",
)


def main() -> None:
    """Print the tables of docs/scaling.md."""
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {where}\n")
    with tempfile.TemporaryDirectory() as folder:
        measured = asyncio.run(measure(Path(folder)))
    print("\n| " + " | ".join(HEAD) + " |\n" + "| --: " * len(HEAD) + "|")
    for times, every_s in ((1, 1.0), (10, 1.0), (10, 10.0), (100, 10.0), (10_000, 10.0)):
        print(arithmetic(measured, times, every_s))


if __name__ == "__main__":
    main()
