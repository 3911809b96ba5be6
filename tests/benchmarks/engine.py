"""Cost of a tick in process: in the window alone, and over the bus to the forecast."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.children import job
from tests.benchmarks.consuming import warm_through
from tests.benchmarks.figures import Figure, Results, Row, rates
from tests.benchmarks.market import PER_S, SYMBOLS, tick_records, walk
from tests.benchmarks.rounds import Bench, timed_turns, turns, turns_of
from volsvc.compiled import kernel
from volsvc.features.kernels import price_window

WINDOW = 50
# Prices for peers that take a tenth of a millisecond each.
SLOW = 2_000


def measure(bench: Bench) -> Results:
    """Measure the windows and the bus."""
    return Results(windows(bench) + over_the_bus(bench))


# --- the window alone ---------------------------------------------------------------------


def windows(bench: Bench) -> list[Row]:
    """Measure mean and deviation of the last 50 prices after each price; ours are exact."""
    prices = walk()[: bench.sizes.ticks]
    _exact(prices)
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
    window = np.zeros(1, price_window.WINDOW)[0]
    price_window.start(window)
    ring = np.zeros(WINDOW), np.zeros(WINDOW, np.int64)
    _read_each(window, *ring, np.array(prices), np.zeros(1, price_window.ROW)[0])


@kernel
def _read_each(window: Any, ring: Any, times: Any, prices: Any, row: Any) -> None:
    for at in range(len(prices)):
        price_window.push(window, ring, times, WINDOW, at, prices[at])
        price_window.read_row(window, ring, times, WINDOW, row)


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
    """Measure ticks in process with and without the shadow model."""
    records = tick_records(SYMBOLS, bench.sizes.ticks // SYMBOLS, PER_S)
    alone, shadowed = timed_turns(
        bench.sizes.rounds,
        lambda: warm_through(records, SYMBOLS, shadow=False),
        lambda: warm_through(records, SYMBOLS),
    )
    what = f"tick in, full state, features out, on the in-process bus, {SYMBOLS} symbols"
    count = len(records)
    ours = rates("volsvc", "ticks/s", count, shadowed)
    return [Row(what, ours, rates("volsvc without the shadow model", "ticks/s", count, alone))]
