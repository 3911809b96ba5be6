"""The fitted model for one live symbol and for a thousand, compared with scikit-learn's trees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from tests.benchmarks.consuming import (
    Consuming,
    daemon_gc,
    forecasting,
    table_of,
    warm,
    warm_states,
    warm_table,
)
from tests.benchmarks.figures import Figure, Results, Row, at_most
from tests.benchmarks.market import PER_S, tick_records
from tests.benchmarks.rounds import Bench, on_server_cpu, turns
from volsvc.config.kafka import KafkaSettings
from volsvc.models import FEATURES, PACKAGED, packaged
from volsvc.models.columns import SCALES_FROM

Array = NDArray[np.float64]

CALLS = 200


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
    """Measure posted rows, live symbols one by one and at once, and the longest hold."""
    results = rows(bench)
    results.add(live(bench))
    results.rows.append(longest_hold(bench))
    return results


def rows(bench: Bench) -> Results:
    """Measure one horizon of rows with every feature, with probability and interval."""
    model, known_rows = packaged().model, live_rows()
    trees = len(model.parameters.heads[0].forest.arrays["feature"])
    theirs = as_large(bench.sizes.trees or trees)
    singles = [known_rows[at % len(known_rows)][None, :] for at in range(CALLS)]
    many = np.tile(known_rows, (1_000 // len(known_rows) + 1, 1))[:1_000]

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
            Row(what, one, one_theirs, at_most(0.1)),
            Row("ml, 1,000 live rows in one call, a row", batch, batch_theirs),
        ]
    )


def micros(name: str, seconds: Sequence[float], count: int) -> Figure:
    """Return seconds of `count` calls as microseconds a call."""
    return Figure(name, "µs", [1e6 * took / count for took in seconds])


def live(bench: Bench) -> Results:
    """Measure all horizons of live symbols, from states to forecasts with interval and score."""
    symbols = bench.sizes.points
    at_once, one = forecasting(warm_table(symbols)), forecasting(warm_table(1))
    with daemon_gc():
        found = turns(bench.sizes.rounds, at_once, lambda: [one() for _ in range(CALLS)])
    together, alone = (
        micros("volsvc", took, count) for took, count in zip(found, (symbols, CALLS), strict=True)
    )
    what = "forecasts of all horizons with interval and score"
    return Results(
        [
            Row(f"{what}, one live symbol", alone, None, at_most(40, "figure")),
            Row(f"{what}, {symbols:,} at once, a symbol", together, None, at_most(12, "figure")),
        ]
    )


def longest_hold(bench: Bench) -> Row:
    """Measure how long the consumer blocks the event loop when every symbol ticks at once."""
    symbols, states = bench.sizes.points, warm_states()
    with on_server_cpu():
        held = asyncio.run(_holds(symbols, states, bench.sizes.rounds))
    what = f"longest hold of the event loop while {symbols:,} symbols tick at once"
    ours = Figure("volsvc", "ms", [1e3 * each for each in held])
    return Row(what, ours, None, at_most(5, "figure"))


async def _holds(symbols: int, states: Sequence[bytes], rounds: int) -> list[float]:
    """Return the seconds of the longest block in each round, from the ticks to their commit."""
    table, held = table_of(symbols), []
    consuming = Consuming(table)
    await consuming.ready()
    warm(table, symbols, states)
    await consuming.apply(tick_records(symbols, 1, PER_S))
    with daemon_gc():
        for turn in range(rounds):
            records = tick_records(symbols, 1, PER_S, start=1 + turn)
            heart = asyncio.create_task(_longest_beat())
            await consuming.apply(records)
            held.append(await heart)
    await consuming.finish()
    return held


async def _longest_beat() -> float:
    """Return the longest time without a turn of the loop, until shortly after the next commit."""
    longest, until = 0.0, time.perf_counter() + 2 * KafkaSettings().commit_interval_s
    while (asked := time.perf_counter()) < until:
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - asked)
    return longest
