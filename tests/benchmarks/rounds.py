"""Running a benchmark: sizes, turns and pinned processors."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_limits

from tests.load.tools import LOAD_CPU, SERVER_CPU

T = TypeVar("T")

# Rounds of work that takes seconds: points of some curves, long-running processes.
MOST_ROUNDS = 3


@dataclass(frozen=True)
class Sizes:
    """The amount of work of a run; docs/performance.md shows `FULL`."""

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
    # Minutes of bars, and ticks of a recording, that a command reads.
    bars: int
    recorded: int
    # Days of minutes in the store.
    kept_days: int
    instances: tuple[int, ...]
    registries: bool
    # Trees of scikit-learn; by default as many as ours has.
    trees: int | None = None


FULL = Sizes(
    rounds=5,
    http_s=3,
    ticks=20_000,
    kafka_ticks=240_000,
    symbols=(12, 100, 1_000, 10_000),
    windows=(50, 500, 5_000),
    batches=(1, 10, 100, 500),
    bodies=(1, 10, 100, 1_000, 10_000),
    points=1_000,
    latency_s=6,
    ring_symbols=1_000,
    training_rows=100_000,
    bars=365 * 1_440,
    recorded=500_000,
    kept_days=30,
    instances=(1, 2, 3),
    registries=True,
)
QUICK = Sizes(
    rounds=3,
    http_s=1,
    ticks=4_000,
    kafka_ticks=60_000,
    symbols=(12, 100, 1_000),
    windows=(50, 5_000),
    batches=(1, 500),
    bodies=(1, 1_000),
    points=1_000,
    latency_s=1,
    ring_symbols=50,
    training_rows=5_000,
    bars=1_440,
    recorded=20_000,
    kept_days=2,
    instances=(1, 2),
    registries=False,
)
SMOKE = Sizes(
    rounds=1,
    http_s=1,
    ticks=300,
    kafka_ticks=12_000,
    symbols=(1, 5),
    windows=(50, 100),
    batches=(1, 50),
    bodies=(1, 50),
    points=20,
    latency_s=0.1,
    ring_symbols=2,
    training_rows=5_000,
    bars=100,
    recorded=300,
    kept_days=1,
    instances=(1,),
    registries=False,
    trees=10,
)


@dataclass(frozen=True)
class Bench:
    """The inputs of a benchmark: sizes, a folder, and the Python of the peers if installed.

    `v1` is the folder of the programs of volsvc 1.0.0, if it is installed. `servers` are a broker's
    addresses, where one runs.
    """

    sizes: Sizes
    folder: Path
    peers: Path | None = None
    v1: Path | None = None
    servers: str = ""


@contextmanager
def on_server_cpu() -> Iterator[None]:
    """Measure in this process, on the processor that otherwise runs servers."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(SERVER_CPU)})
    try:
        # OpenMP counted the processors before; two threads on one of them wait for each other.
        with threadpool_limits(1):
            yield
    finally:
        os.sched_setaffinity(0, before)


def stay_off_server_cpu() -> None:
    """Keep this process and its children off the servers' processor."""
    os.sched_setaffinity(0, {int(LOAD_CPU)})


def turns(rounds: int, *works: Callable[[], object]) -> list[list[float]]:
    """Return the seconds of each work in each round; they take turns for equal conditions."""

    def timed(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return timed_turns(rounds, *(partial(timed, work) for work in works))


def timed_turns(rounds: int, *works: Callable[[], float]) -> list[list[float]]:
    """Return the seconds of each work in each round, for works that prepare and time themselves."""
    took: list[list[float]] = [[] for _ in works]
    with on_server_cpu():
        for _ in range(rounds):
            for work, times in zip(works, took, strict=True):
                times.append(work())
    return took


async def turns_of(rounds: int, *works: Callable[[], Awaitable[T]]) -> list[list[T]]:
    """Return the result of each work in each round, for works that measure themselves."""
    found: list[list[T]] = [[] for _ in works]
    for _ in range(rounds):
        for work, values in zip(works, found, strict=True):
            values.append(await work())
    return found
