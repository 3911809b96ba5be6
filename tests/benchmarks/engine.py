"""What a tick costs in process: the window alone, the state, and the whole way over the bus."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from tests.benchmarks.children import job
from tests.benchmarks.figures import Curve, Figure, Results, Row, at_least, at_most, rates
from tests.benchmarks.market import tick_records, ticks, walk, warm_table
from tests.benchmarks.rounds import Bench, on_server_cpu, turns, turns_of
from tests.daemon import eventually
from volsvc.board import Board
from volsvc.config import FeatureSettings
from volsvc.consumer import Consumer
from volsvc.domain import Tick
from volsvc.features import ReturnWindow, SymbolTable
from volsvc.kafka_config import KafkaSettings
from volsvc.metrics import Metrics
from volsvc.models import ModelHolder, Wish, packaged
from volsvc.transport import OutRecord
from volsvc.transport.memory import MemoryBus

WINDOW = 50
SYMBOLS, PER_S = 12, 20.0
"""As in `stream`: busy markets, of which one tick in twenty is published with forecasts."""
PACES = (1.0, 4.0, 20.0, 100.0, 1_000.0)
CHUNK = 512
MOST_ROUNDS = 3
"""Of the points of a curve of the whole way, which take seconds each."""
LOOK_S, WARM_S = 0.001, 60.0
SLOW = 2_000
"""Prices for what takes a tenth of a millisecond each."""


def measure(bench: Bench) -> Results:
    """Windows, the bus, and the curves."""
    results = Results(windows(bench))
    results.rows += over_the_bus(bench)
    for curve in (against_symbols, against_window, against_pace, against_batch):
        results.add(curve(bench))
    return results


# --- the window alone ---------------------------------------------------------------------


def windows(bench: Bench) -> list[Row]:
    """Mean and deviation of the last 50 prices after each price, ours exact, theirs as they are."""
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
        said = await job(python, "peers/river_window.py", count, cwd=bench.folder)
        return 1e6 * float(said["seconds"]) / float(said["count"])

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
    """From bytes on the in-process bus to features and forecasts on it and on the board."""
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
) -> float:
    """Publish records in chunks, and consume them to the end; a new loop, bus and consumer.

    Returns seconds, without those of the records `before`.
    """
    return asyncio.run(_through(records, table, shadow, chunk, before))


async def _through(
    records: Sequence[OutRecord],
    table: SymbolTable,
    shadow: bool,
    chunk: int,
    before: Sequence[OutRecord],
) -> float:
    bus, topics = MemoryBus(), KafkaSettings()
    holder = ModelHolder(Wish("ml", packaged().model), shadow=shadow)
    consumer = asyncio.create_task(Consumer(bus, topics, table, holder, Board(), Metrics()).run())
    await asyncio.sleep(0)  # the group has to be there before the first record
    for start in range(0, len(before), chunk):
        await bus.publish(topics.topic, before[start : start + chunk])

    async def warm() -> bool:
        return sum(state.order.accepted for state in table) == len(before)

    await eventually(warm, WARM_S, "the ticks before", LOOK_S)
    started = time.perf_counter()
    for start in range(0, len(records), chunk):
        await bus.publish(topics.topic, records[start : start + chunk])
    await bus.close()
    await consumer
    return time.perf_counter() - started


# --- curves -------------------------------------------------------------------------------


def against_symbols(bench: Bench) -> Results:
    """The same ticks spread over more and more symbols, whose states are warm."""
    places = bench.sizes.symbols
    warm = WINDOW + 10
    tables = [warm_table(symbols, warm, PER_S) for symbols in places]
    state = _updates(bench, tables, places, warm)
    lines = {
        "state": [(float(n), each.median) for n, each in zip(places, state, strict=True)],
        "in process, all of it": [(float(n), _whole_cost(bench, n)) for n in places],
    }
    what = f"cost of a tick, state: {places[-1]:,} symbols beside {places[0]:,}"
    return Results(
        [Row(what, state[-1], state[0], at_most(1.3))],
        [Curve("symbols", "Cost of a tick against symbols", "symbols", "µs a tick", lines)],
    )


def _updates(
    bench: Bench, tables: Sequence[SymbolTable], symbols: Sequence[int], warm: int
) -> list[Figure]:
    """What a tick costs each of some tables of so many symbols with `warm` ticks, in turns."""
    took: list[list[float]] = [[] for _ in tables]
    for turn in range(bench.sizes.rounds):
        for table, count, times in zip(tables, symbols, took, strict=True):
            each = max(2, bench.sizes.ticks // count)
            batch = list(ticks(count, each, PER_S, start=warm + turn * each))
            times.append(1e6 * updated(table, batch) / len(batch))
    return [Figure("the other end", "µs", times) for times in took]


def updated(table: SymbolTable, batch: Sequence[Tick]) -> float:
    """Seconds that the states take for ticks."""
    with on_server_cpu():
        started = time.perf_counter()
        for tick in batch:
            state = table.state_for(tick.symbol, tick.time_ns)
            state.update(tick)
            state.take_ended()
        return time.perf_counter() - started


def _whole_cost(bench: Bench, symbols: int) -> float:
    each = max(2, bench.sizes.ticks // 2 // symbols)
    records = tick_records(symbols, 2 * each, PER_S)
    half = len(records) // 2
    took = []
    for _ in range(min(bench.sizes.rounds, MOST_ROUNDS)):
        table = SymbolTable(FeatureSettings(max_symbols=max(10_000, symbols)))
        with on_server_cpu():
            took.append(through(records[half:], table, before=records[:half]))
    return 1e6 * statistics.median(took) / half


def against_window(bench: Bench) -> Results:
    """Longer windows, full from the start."""
    places = bench.sizes.windows
    warm = max(places) + 1
    tables = [warm_table(1, warm, PER_S, FeatureSettings(window_size=size)) for size in places]
    state = _updates(bench, tables, [1] * len(places), warm)
    points = [(float(size), each.median) for size, each in zip(places, state, strict=True)]
    title = "Cost of a tick against the window"
    curve = Curve("window", title, "prices in the window", "µs a tick", {"state": points})
    what = f"cost of a tick, state: window of {places[-1]:,} beside {places[0]:,}"
    return Results([Row(what, state[-1], state[0], at_most(1.1))], [curve])


def against_pace(bench: Bench) -> Results:
    """Busier markets: every second of a symbol is published and forecast once."""

    def work(pace: float) -> Callable[[], object]:
        records = tick_records(SYMBOLS, bench.sizes.ticks // 2 // SYMBOLS, pace)
        return lambda: through(records, SymbolTable(FeatureSettings()))

    title = "Cost of a tick against the pace"
    return _curve(bench, ("pace", title, "ticks a second and symbol"), PACES, work)


def against_batch(bench: Bench) -> Results:
    """More ticks at once: each symbol's newest is forecast once a batch."""
    records = tick_records(SYMBOLS, bench.sizes.ticks // 2 // SYMBOLS, PER_S)

    def work(size: float) -> Callable[[], object]:
        return lambda: through(records, SymbolTable(FeatureSettings()), chunk=round(size))

    title = "Cost of a tick against the batch"
    return _curve(bench, ("batch", title, "ticks published at once"), bench.sizes.batches, work)


def _curve(
    bench: Bench,
    names: tuple[str, str, str],
    places: Sequence[float],
    work: Callable[[float], Callable[[], object]],
) -> Results:
    count = bench.sizes.ticks // 2 // SYMBOLS * SYMBOLS
    found = turns(min(bench.sizes.rounds, MOST_ROUNDS), *(work(place) for place in places))
    points = [
        (float(place), 1e6 * statistics.median(took) / count)
        for place, took in zip(places, found, strict=True)
    ]
    return Results([], [Curve(*names, "µs a tick", {"in process, all of it": points})])
