"""Resident memory that a symbol adds to a consumer at default settings."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from pathlib import Path

from tests.benchmarks.market import tick_records
from volsvc.board import Board
from volsvc.config import FeatureSettings
from volsvc.consumer import Consumer
from volsvc.features import SymbolTable
from volsvc.kafka_config import KafkaSettings
from volsvc.logs import configure_logs
from volsvc.metrics import Metrics
from volsvc.models import ModelHolder, Wish, packaged
from volsvc.transport.memory import MemoryBus

CHUNK = 300
KEPT = 600
"""Records that the bus keeps; full of one symbol's before others come, so that they add none."""


def rss() -> int:
    """Resident bytes of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def main(symbols: int, each: int) -> None:
    """Bring symbols in, beside one that was there, and say what each added."""
    topics, table = KafkaSettings(), SymbolTable(FeatureSettings())
    bus = MemoryBus(queue_max_records=KEPT)
    parts = (ModelHolder(Wish("ml", packaged().model)), Board(), Metrics())
    task = asyncio.create_task(Consumer(bus, topics, table, *parts).run())
    await asyncio.sleep(0)
    warm = 2 * KEPT
    for start in range(0, warm, CHUNK):
        await bus.publish(topics.topic, tick_records(1, CHUNK, start=start))
    before = rss()
    for start in range(warm, warm + each, 10):
        records = tick_records(symbols, 10, start=start)
        for first in range(0, len(records), CHUNK):
            await bus.publish(topics.topic, records[first : first + CHUNK])
    await bus.close()
    await task
    print(json.dumps({"kb": (rss() - before) / symbols / 1024}))


if __name__ == "__main__":
    configure_logs("error", "json")
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
