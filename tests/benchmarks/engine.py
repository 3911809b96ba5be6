"""Cost of a tick in process: in the window alone, and over the bus to the forecast."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from tests.benchmarks.children import job
from tests.benchmarks.figures import Figure, Results, Row, at_least, rates
from tests.benchmarks.market import tick_records, walk
from tests.benchmarks.rounds import Bench, turns, turns_of
from tests.daemon import eventually
from volsvc.config.kafka import KafkaSettings
from volsvc.config.settings import FeatureSettings
from volsvc.features import ReturnWindow, SymbolTable
from volsvc.models import packaged
from volsvc.pipeline.consumer import Consumer
from volsvc.pipeline.forecaster import Forecaster
from volsvc.pipeline.latest_store import LatestStore
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import DesiredModel
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord
from volsvc.transport.memory import MemoryBus

WINDOW = 50
# As in `stream`: busy markets of which one tick in twenty is published with forecasts.
SYMBOLS, PER_S = 12, 20.0
CHUNK = 512
LOOK_S, WARM_S = 0.001, 60.0
# Prices for peers that take a tenth of a millisecond each.
SLOW = 2_000


def measure(bench: Bench) -> Results:
    """Measure the windows and the bus."""
    return Results(windows(bench) + over_the_bus(bench))


# --- the window alone ---------------------------------------------------------------------


def windows(bench: Bench) -> list[Row]:
    """Measure mean and deviation of the last 50 prices after each price; ours are exact."""
    prices = walk()[: bench.sizes.ticks]
    found = turns(
        bench.sizes.rounds, lambda: _exact(prices), lambda: _numpy(prices), lambda: _pandas(prices)
    )
    counts = (len(prices), min(len(prices), SLOW), min(len(prices), SLOW // 10))
    names = ("volsvc, exact sums", "numpy over the window", "pandas over the window")
    ours, *others = (
        Figure(name, "µs", [1e6 * took / count for took in times])
        for name, times, count in zip(names, found, counts, strict=True)
    )
    if bench.peers is not None:
        others.append(asyncio.run(_river(bench, bench.peers, len(prices))))
    return [Row("window of 50, a tick", ours, other) for other in others]


async def _river(bench: Bench, python: Path, count: int) -> Figure:
    async def once() -> float:
        result = await job(python, "peers/river_window.py", count, cwd=bench.folder)
        return 1e6 * float(result["seconds"]) / float(result["count"])

    (took,) = await turns_of(bench.sizes.rounds, once)
    return Figure("river, rolling mean and variance", "µs", took)


def _exact(prices: Sequence[float]) -> None:
    window = ReturnWindow(WINDOW)
    for price in prices:
        window.push(price)
        _ = (window.mean, window.std)


def _numpy(prices: Sequence[float]) -> None:
    for end in range(2, min(len(prices), SLOW) + 2):
        returns = np.diff(np.log(prices[max(0, end - WINDOW) : end]))
        _ = (returns.mean(), returns.std(ddof=1) if len(returns) > 1 else 0.0)


def _pandas(prices: Sequence[float]) -> None:
    for end in range(2, min(len(prices), SLOW // 10) + 2):
        returns = np.log(pd.Series(prices[max(0, end - WINDOW) : end])).diff()
        _ = (returns.mean(), returns.std())


# --- over the bus -------------------------------------------------------------------------


def over_the_bus(bench: Bench) -> list[Row]:
    """From bytes on the in-process bus to features and forecasts on it and in the latest store."""
    records = tick_records(SYMBOLS, bench.sizes.ticks // SYMBOLS, PER_S)

    def decoded() -> None:
        for record in records:
            msgspec.json.decode(record.value or b"")

    alone, shadowed, decoding = turns(
        bench.sizes.rounds,
        lambda: through(records, SymbolTable(FeatureSettings()), shadow=False),
        lambda: through(records, SymbolTable(FeatureSettings()), shadow=True),
        decoded,
    )
    what = "tick in, full state, features out, on the in-process bus"
    count = len(records)
    ours = rates("volsvc", "ticks/s", count, shadowed)
    return [
        Row(what, ours, None, at_least(100_000, "figure")),
        Row(what, ours, rates("JSON decoding alone", "ticks/s", count, decoding)),
        Row(what, ours, rates("volsvc without the shadow model", "ticks/s", count, alone)),
    ]


def through(
    records: Sequence[OutRecord],
    table: SymbolTable,
    *,
    shadow: bool = True,
    chunk: int = CHUNK,
    before: Sequence[OutRecord] = (),
    kind: type[Forecaster] = Forecaster,
) -> float:
    """Publish records in chunks and consume them all, with a new loop, bus and consumer.

    Returns seconds, without those of the records `before`.
    """
    bus = MemoryBus()
    holder = ModelHolder(DesiredModel("ml", packaged().model), shadow=shadow)
    metrics = Metrics()
    forecaster = kind(holder, LatestStore(), metrics, bus.identity)
    consumer = Consumer(bus, KafkaSettings(), table, forecaster, metrics)
    return asyncio.run(_through(records, table, bus, consumer, chunk, before))


async def _through(
    records: Sequence[OutRecord],
    table: SymbolTable,
    bus: MemoryBus,
    consumer: Consumer,
    chunk: int,
    before: Sequence[OutRecord],
) -> float:
    topic = KafkaSettings().topic
    running = asyncio.create_task(consumer.run())
    await asyncio.sleep(0)  # the group has to be there before the first record
    for start in range(0, len(before), chunk):
        await bus.publish(topic, before[start : start + chunk])

    async def warm() -> bool:
        return sum(state.validator.accepted for state in table) == len(before)

    await eventually(warm, WARM_S, "the ticks before", LOOK_S)
    started = time.perf_counter()
    for start in range(0, len(records), chunk):
        await bus.publish(topic, records[start : start + chunk])
    await bus.close()
    await running
    return time.perf_counter() - started
