"""The fitted model for one live symbol and for a thousand, compared with scikit-learn's trees."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from tests.benchmarks.figures import Figure, Results, Row, at_most
from tests.benchmarks.market import tick_records, warm_table
from tests.benchmarks.rounds import Bench, on_server_cpu, turns
from tests.daemon import eventually
from volsvc.config.kafka import KafkaSettings
from volsvc.config.settings import FeatureSettings
from volsvc.daemon.gc_tuning import tune_gc
from volsvc.features import SymbolTable
from volsvc.models import FEATURES, HORIZONS_S, PACKAGED, SymbolForecasts, forecast_point, packaged
from volsvc.models.base import SCALES_FROM
from volsvc.pipeline.consumer import Consumer
from volsvc.pipeline.forecaster import Forecaster
from volsvc.pipeline.latest_store import LatestStore
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import DesiredModel
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord
from volsvc.transport.memory import MemoryBus

Array = NDArray[np.float64]

CALLS = 200
WARM, PER_S = 60, 20.0
TAKEN_S = 60.0


def live_rows() -> Array:
    """Return the artefact's golden rows of live symbols, of shape (rows, len(FEATURES))."""
    with np.load(PACKAGED, allow_pickle=False) as file:
        golden = np.asarray(file["golden"], dtype=np.float64)
    return golden[~np.isnan(golden[:, SCALES_FROM:]).any(axis=1)]


def as_large(trees: int) -> HistGradientBoostingRegressor:
    """Return scikit-learn's trees, with the number of trees and leaves of one of our horizons."""
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(4_000, len(FEATURES) - SCALES_FROM))
    target = np.exp(rows[:, 0] * 0.5 + rng.normal(size=len(rows)) * 0.3)
    model = HistGradientBoostingRegressor(
        loss="gamma", max_iter=trees, max_leaf_nodes=16, learning_rate=0.05, early_stopping=False
    )
    return model.fit(rows, target)


def measure(bench: Bench) -> Results:
    """Measure one row, many rows, and all symbols at once."""
    results = one_row(bench)
    results.add(all_at_once(bench))
    results.rows.append(asyncio.run(longest_hold(bench)))
    return results


def one_row(bench: Bench) -> Results:
    """Measure one horizon of one live symbol, with probability and interval."""
    model, rows = packaged().model, live_rows()
    trees = len(model.parameters.heads[0].forest.arrays["feature"])
    theirs = as_large(bench.sizes.trees or trees)
    singles = [rows[at % len(rows)][None, :] for at in range(CALLS)]
    many = np.tile(rows, (1_000 // len(rows) + 1, 1))[:1_000]

    def each(call: Any, columns: slice = slice(None)) -> Any:
        return lambda: [call(row[:, columns]) for row in singles]

    own = slice(SCALES_FROM, None)
    found = turns(
        bench.sizes.rounds,
        each(lambda row: model.predict(row, 60.0)),
        each(theirs.predict, own),
        lambda: model.predict(many, 60.0),
        lambda: theirs.predict(many[:, own]),
    )
    name = f"scikit-learn, {trees} trees"
    one, one_theirs = (micros(n, found[at], CALLS) for at, n in enumerate(("volsvc", name)))
    batch, batch_theirs = (micros(n, found[at + 2], 1_000) for at, n in enumerate(("volsvc", name)))
    what = "ml, one live row, one horizon, probability and interval"
    return Results(
        [
            Row(what, one, None, at_most(100, "figure")),
            Row(what, one, one_theirs, at_most(0.1)),
            Row("ml, 1,000 live rows in one call, a row", batch, batch_theirs),
        ]
    )


def micros(name: str, seconds: Sequence[float], count: int) -> Figure:
    """Return seconds of `count` calls as microseconds a call."""
    return Figure(name, "µs", [1e6 * took / count for took in seconds])


def all_at_once(bench: Bench) -> Results:
    """Measure all horizons of many symbols, from states to forecasts with intervals."""
    symbols = bench.sizes.points
    table = warm_table(symbols, 60)
    model = packaged().model

    def told() -> None:
        forecasts = SymbolForecasts(model, [forecast_point(state) for state in table], HORIZONS_S)
        for index in range(symbols):
            forecasts.snapshot(index, HORIZONS_S[0])

    (took,) = turns(bench.sizes.rounds, told)
    ours = Figure("volsvc", "ms", [1e3 * each for each in took])
    what = f"forecasts of all horizons for {symbols:,} symbols in one go"
    return Results([Row(what, ours, None, at_most(60, "figure"))])


async def longest_hold(bench: Bench) -> Row:
    """Measure how long the consumer blocks the event loop when every symbol ticks at once."""
    symbols, rounds = bench.sizes.points, bench.sizes.rounds
    with on_server_cpu():
        held = [1e3 * each for each in await _holds(symbols, rounds)]
    what = f"longest hold of the event loop while {symbols:,} symbols tick at once"
    return Row(what, Figure("volsvc", "ms", held), None, at_most(5, "figure"))


async def _holds(symbols: int, rounds: int) -> list[float]:
    """Return the seconds of the longest block in each round, from the ticks to their commit."""
    bus, topics, table = MemoryBus(), KafkaSettings(), SymbolTable(FeatureSettings())
    holder = ModelHolder(DesiredModel("ml", packaged().model))
    metrics = Metrics()
    forecaster = Forecaster(holder, LatestStore(), metrics, bus.identity)
    consumer = Consumer(bus, topics, table, forecaster, metrics)
    task = asyncio.create_task(consumer.run())
    await asyncio.sleep(0)
    await _taken(bus, table, tick_records(symbols, WARM, PER_S))
    thresholds = gc.get_threshold()
    # The daemon does so too.
    sparing = asyncio.create_task(tune_gc(lambda: len(table)))
    await asyncio.sleep(0)
    ticks = [tick_records(symbols, 1, PER_S, start=WARM + turn) for turn in range(rounds)]
    held = []
    for records in ticks:
        heart = asyncio.create_task(_longest_beat())
        await _taken(bus, table, records)
        held.append(await heart)
    sparing.cancel()
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    await bus.close()
    await task
    return held


async def _taken(bus: MemoryBus, table: SymbolTable, records: Sequence[OutRecord]) -> None:
    """Publish records, and wait until the states have applied all of them."""
    wanted = sum(state.validator.accepted for state in table) + len(records)
    await bus.publish(KafkaSettings().topic, records)

    async def taken() -> bool:
        return sum(state.validator.accepted for state in table) == wanted

    await eventually(taken, TAKEN_S, "the ticks")


async def _longest_beat() -> float:
    """Return the longest time without a turn of the loop, until shortly after the next commit."""
    longest, until = 0.0, time.perf_counter() + 2 * KafkaSettings().commit_interval_s
    while (asked := time.perf_counter()) < until:
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - asked)
    return longest
