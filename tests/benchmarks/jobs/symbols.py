"""Resident memory that a symbol adds to a consumer at default settings."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.market import symbol_of, tick_records
from volsvc.config.kafka import KafkaSettings
from volsvc.config.settings import FeatureSettings
from volsvc.features import SymbolTable
from volsvc.models import packaged
from volsvc.pipeline.consumer import Consumer
from volsvc.pipeline.forecaster import Forecaster
from volsvc.pipeline.latest_store import LatestStore
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import DesiredModel
from volsvc.telemetry.logs import configure_logs
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord
from volsvc.transport.memory import MemoryBus

# Records published at once, and those that the bus keeps.
CHUNK, KEPT = 50, 100
# Symbols that come before, so that what a process takes once is not counted.
FIRST = 20
PER_S = 20.0


def rss() -> int:
    """Return the resident bytes of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def publish(bus: MemoryBus, records: Sequence[OutRecord]) -> None:
    """Publish in chunks; the bus waits for the consumer."""
    for first in range(0, len(records), CHUNK):
        await bus.publish(KafkaSettings().topic, records[first : first + CHUNK])


async def main(symbols: int, each: int, history: int) -> None:
    """Add symbols to those that were there, and print the memory that each added."""
    topics, table = KafkaSettings(), SymbolTable(FeatureSettings(history=history))
    bus = MemoryBus(queue_max_records=KEPT)
    holder, metrics = ModelHolder(DesiredModel("ml", packaged().model)), Metrics()
    forecaster = Forecaster(holder, LatestStore(), metrics, bus.identity)
    task = asyncio.create_task(Consumer(bus, topics, table, forecaster, metrics).run())
    await asyncio.sleep(0)
    await publish(bus, tick_records(FIRST, each, PER_S))
    known = {symbol_of(number).encode() for number in range(FIRST)}
    records = tick_records(FIRST + symbols, each, PER_S)
    size = rss()
    await publish(bus, [record for record in records if record.key not in known])
    size = rss() - size
    await bus.close()
    await task
    print(json.dumps({"kb": size / symbols / 1024}))


if __name__ == "__main__":
    configure_logs("error", "json")
    asyncio.run(main(*map(int, sys.argv[1:])))
