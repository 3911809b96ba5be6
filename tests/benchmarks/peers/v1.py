"""The work that is measured of both versions, in volsvc 1.0.0: see `jobs/versions.py` beside it.

It runs with that version's interpreter, so it stands alone: nothing of this checkout is imported.
"""
# mypy: ignore-errors
# The names are those of 1.0.0, which no longer exist.

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uvloop
from volsvc.app import Daemon
from volsvc.board import Board
from volsvc.collector import THRESHOLDS
from volsvc.consumer import Consumer
from volsvc.kafka_config import KafkaSettings
from volsvc.logs import configure_logs
from volsvc.metrics import Metrics
from volsvc.models.live import matrix_of

from volsvc.config import FeatureSettings, load_settings
from volsvc.features import SymbolTable
from volsvc.models import HORIZONS_S, LiveForecasts, ModelHolder, Wish, moment_now, packaged
from volsvc.training.dataset import load_panel
from volsvc.transport import OutRecord, Record
from volsvc.transport.codec import decode_tick, encode_features
from volsvc.transport.memory import MemoryBus

TOPIC = KafkaSettings().topic
CHUNK = 512
EVERY_S = 0.01
FEW, KEPT = 50, 100


def read_records(path: Path) -> Iterator[OutRecord]:
    """Yield the records of a file one by one."""
    with path.open("rb") as file:
        for line in file:
            key, _, value = line.rstrip(b"\n").partition(b"\t")
            yield OutRecord(key, value)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of some work, with the garbage collector as in the daemon."""
    daemon_gc()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def daemon_gc() -> None:
    """Set the garbage collector as the daemon does."""
    gc.unfreeze()
    gc.set_threshold(*THRESHOLDS)
    gc.collect()
    gc.freeze()


def table_of(symbols: int, **settings: int) -> SymbolTable:
    """Return an empty table with room for `symbols`."""
    return SymbolTable(FeatureSettings(max_symbols=max(10_000, symbols), **settings))


def absorb(table: SymbolTable, records: Sequence[OutRecord]) -> None:
    """Decode records, check the ticks and apply them to their states, and do nothing else."""
    for offset, record in enumerate(records):
        tick = decode_tick(Record(TOPIC, 0, offset, record.key, record.value))
        state = table.state_for(tick.symbol, tick.time_ns)
        state.update(tick)
        state.take_ended()
        state.take_due()


def warm_states(records: Sequence[OutRecord]) -> list[Mapping[str, Any]]:
    """Return states that know every feature and have learnt from their forecasts."""
    table = table_of(0)

    async def run() -> None:
        consuming = Consuming(table)
        await asyncio.sleep(0)
        await consuming.publish(records)
        await consuming.finish()

    asyncio.run(run())
    return [{**state.dump(), **state.dump_learnt()} for state in table]


def warmed(
    table: SymbolTable, symbols: Sequence[str], copied: Sequence[Mapping[str, Any]]
) -> SymbolTable:
    """Copy states to symbols and return the table; with the same state come the same prices."""
    for number, symbol in enumerate(symbols):
        table.restore(symbol, copied[number % len(copied)], time.time_ns())
        state = table.get(symbol)
        state.partition, state.offset = 0, -1
    known(table)
    return table


def known(table: SymbolTable) -> None:
    """Check that every feature of every symbol is known."""
    matrix = matrix_of([moment_now(state) for state in table])
    assert len(matrix)
    assert not np.isnan(matrix).any()


def publishing(table: SymbolTable) -> Callable[[], object]:
    """Return the work of encoding the record of every symbol once, with state and forecasts."""
    states = list(table)
    forecasts = LiveForecasts(packaged().model, [moment_now(s) for s in states], HORIZONS_S)
    snapshots = [forecasts.snapshot(index, HORIZONS_S[0]) for index in range(len(states))]

    def work() -> None:
        for state, snapshot in zip(states, snapshots, strict=True):
            stored = {**state.dump(), **state.dump_learnt()}
            encode_features(snapshot, stored, time.time_ns(), "bench")

    return work


class Consuming:
    """A consumer with the packaged model, running on a bus of its own until `finish`."""

    def __init__(self, table: SymbolTable, queue: int = 10_000) -> None:
        self.bus = MemoryBus(queue_max_records=queue)
        self._table = table
        holder = ModelHolder(Wish("ml", packaged().model), shadow=True)
        consumer = Consumer(self.bus, KafkaSettings(), table, holder, Board(), Metrics())
        self._running = asyncio.create_task(consumer.run())

    async def publish(self, records: Iterable[OutRecord], chunk: int = CHUNK) -> None:
        """Publish records in chunks; the bus waits for the consumer."""
        rest = iter(records)
        while part := list(islice(rest, chunk)):
            await self.bus.publish(TOPIC, part)

    async def finish(self) -> None:
        """Consume and commit what was published, and end."""
        await self.bus.close()
        await self._running


def through(
    records: Sequence[OutRecord],
    symbols: Sequence[str],
    copied: Sequence[Mapping[str, Any]],
) -> float:
    """Return the seconds of publishing records in chunks and consuming them all, states warm."""
    table = table_of(len(symbols))

    async def run() -> float:
        consuming = Consuming(table)
        # The consumer begins, which drops the states that it has not restored.
        await asyncio.sleep(0)
        warmed(table, symbols, copied)
        daemon_gc()
        started = time.perf_counter()
        await consuming.publish(records)
        await consuming.finish()
        return time.perf_counter() - started

    seconds = asyncio.run(run())
    known(table)
    return seconds


def live(folder: Path) -> dict[str, float]:
    """Return the µs of a tick, by the kind of work and of market."""
    warm, busy, calm = (
        list(read_records(folder / f"{name}.records")) for name in ("warm", "busy", "calm")
    )
    symbols = [key.decode() for key in dict.fromkeys(record.key for record in busy)]
    copied, each = warm_states(warm), 1e6 / len(busy)
    table = warmed(table_of(len(symbols)), symbols, copied)
    published = publishing(warmed(table_of(len(symbols)), symbols, copied))
    result = {
        "json": each * timed(lambda: [msgspec.json.decode(record.value or b"") for record in busy]),
        "state": each * timed(lambda: absorb(table, busy)),
        "published": 1e6 / len(symbols) * timed(published),
    }
    for name, records in (("busy", busy), ("calm", calm)):
        result[name] = 1e6 / len(records) * through(records, symbols, copied)
    return result


def rss() -> int:
    """Return the resident bytes of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def grow(folder: Path) -> dict[str, float]:
    """Return the KB that a symbol adds to a consumer, after some that were there before."""
    table = table_of(0)
    consuming = Consuming(table, queue=KEPT)
    await asyncio.sleep(0)
    await consuming.publish(read_records(folder / "first.records"), FEW)
    size, symbols = rss(), len(table)
    await consuming.publish(read_records(folder / "more.records"), FEW)
    size = rss() - size
    symbols = len(table) - symbols
    await consuming.finish()
    return {"kb": size / symbols / 1024}


def memory(folder: Path) -> dict[str, float]:
    """Return the KB that a symbol adds."""
    return asyncio.run(grow(folder))


def training_table(folder: Path) -> dict[str, float]:
    """Return the seconds of a training table of bars, after a little one."""
    for name in ("little.csv", "bars.csv"):
        cache = folder / f"{name}-{os.getpid()}"
        seconds = timed(partial(table_in, cache, folder / name))
    return {"seconds": seconds}


def table_in(cache: Path, bars: Path) -> None:
    """Build the training table of a file of bars in a folder that does not exist yet."""
    load_panel([bars], cache, lambda path: iter(()))


async def consume(
    servers: str, topic: str, name: str, count: int, symbols: int, warm: int
) -> dict[str, float]:
    """Consume `count` ticks of a full topic, then drain; timed once every symbol has `warm`."""
    topics = {
        "bootstrap_servers": servers,
        "topic": topic,
        "features_topic": f"{name}.features",
        "outcomes_topic": f"{name}.outcomes",
        "dead_letter_topic": f"{name}.dlq",
        "group_id": name,
    }
    settings = {
        "service": {"roles": ["consumer"], "log_level": "error", "instance_id": name},
        "source": {"kind": "none"},
        "bus": {"transport": "kafka"},
        "kafka": topics,
        "model": {"import_packaged": False},
    }
    daemon, stop = Daemon(load_settings(None, settings)), asyncio.Event()
    task = asyncio.create_task(daemon.run(stop, lambda url: None))
    seen = begun = 0
    wall = cpu = 0.0
    daemon_gc()
    while seen < count and not task.done():
        await asyncio.sleep(EVERY_S)
        each = [state.order.accepted for state in daemon.table]
        seen = sum(each)
        if len(each) == symbols and min(each) >= warm and not begun:
            begun, wall, cpu = seen, time.perf_counter(), time.process_time()
    stop.set()
    await task
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"count": seen - begun, "seconds": wall, "cpu_s": cpu}


def broker(
    symbols: str, warm: str, servers: str, topic: str, name: str, count: str
) -> dict[str, float]:
    """Return the times of ticks that come from a broker."""
    return uvloop.run(consume(servers, topic, name, int(count), int(symbols), int(warm)))


JOBS = {
    "live": lambda folder: live(Path(folder)),
    "memory": lambda folder: memory(Path(folder)),
    "table": lambda folder: training_table(Path(folder)),
    "broker": broker,
}

if __name__ == "__main__":
    configure_logs("error", "json")
    job, *arguments = sys.argv[1:]
    print(json.dumps(JOBS[job](*arguments)))
