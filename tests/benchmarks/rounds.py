"""How a benchmark is run: sizes, turns, and processors of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_limits

from tests.load.tools import LOAD_CPU, SERVER_CPU

T = TypeVar("T")

MOST_ROUNDS = 3
"""Of what takes seconds each: points of some curves, processes that grow old."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured; `FULL` is what docs/performance.md shows."""

    rounds: int
    http_s: int
    ticks: int
    kafka_ticks: int
    symbols: tuple[int, ...]
    windows: tuple[int, ...]
    batches: tuple[int, ...]
    bodies: tuple[int, ...]
    points: int
    latency_s: float
    ring_symbols: int
    training_rows: int
    instances: tuple[int, ...]
    registries: bool
    trees: int | None = None
    """Of scikit-learn; as many as ours where it is not said."""


FULL = Sizes(
    rounds=5,
    http_s=3,
    ticks=20_000,
    kafka_ticks=60_000,
    symbols=(1, 10, 100, 1_000, 10_000),
    windows=(50, 500, 5_000),
    batches=(1, 10, 100, 500),
    bodies=(1, 10, 100, 1_000, 10_000),
    points=1_000,
    latency_s=6,
    ring_symbols=100,
    training_rows=100_000,
    instances=(1, 2, 3),
    registries=True,
)
QUICK = Sizes(
    rounds=3,
    http_s=1,
    ticks=4_000,
    kafka_ticks=12_000,
    symbols=(1, 100, 1_000),
    windows=(50, 5_000),
    batches=(1, 500),
    bodies=(1, 1_000),
    points=1_000,
    latency_s=1,
    ring_symbols=10,
    training_rows=5_000,
    instances=(1, 2),
    registries=False,
)
SMOKE = Sizes(
    rounds=1,
    http_s=1,
    ticks=300,
    kafka_ticks=600,
    symbols=(1, 5),
    windows=(50, 100),
    batches=(1, 50),
    bodies=(1, 50),
    points=20,
    latency_s=0.1,
    ring_symbols=2,
    training_rows=1_500,
    instances=(1,),
    registries=False,
    trees=10,
)


@dataclass(frozen=True)
class Bench:
    """What a benchmark is given: sizes, a folder of its own, and the peers' Python if it is there.

    `servers` are a broker's addresses, where one runs.
    """

    sizes: Sizes
    folder: Path
    peers: Path | None = None
    servers: str = ""


@contextmanager
def on_server_cpu() -> Iterator[None]:
    """Measure in this process, on the processor that servers have otherwise."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(SERVER_CPU)})
    try:
        # OpenMP counted the processors before; two threads on one of them wait for each other.
        with threadpool_limits(1):
            yield
    finally:
        os.sched_setaffinity(0, before)


def stay_off_server_cpu() -> None:
    """Leave the servers' processor to them; what this process starts stays off it too."""
    os.sched_setaffinity(0, {int(LOAD_CPU)})


def turns(rounds: int, *works: Callable[[], object]) -> list[list[float]]:
    """Seconds of each work in each round; works take turns, so that all meet the same weather."""
    took: list[list[float]] = [[] for _ in works]
    with on_server_cpu():
        for _ in range(rounds):
            for work, times in zip(works, took, strict=True):
                started = time.perf_counter()
                work()
                times.append(time.perf_counter() - started)
    return took


async def turns_of(rounds: int, *works: Callable[[], Awaitable[T]]) -> list[list[T]]:
    """The same for works that measure themselves: what each returned in each round."""
    found: list[list[T]] = [[] for _ in works]
    for _ in range(rounds):
        for work, values in zip(works, found, strict=True):
            values.append(await work())
    return found
