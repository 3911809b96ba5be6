"""The work that is measured of both versions, in the newest one: see `peers/v1.py` beside it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from tests.benchmarks.consuming import (
    Consuming,
    absorb,
    daemon_gc,
    publishing,
    table_of,
    warm_table,
    warm_through,
)
from tests.benchmarks.recorded import read_records
from volsvc.config.settings import FeatureSettings
from volsvc.telemetry.logs import configure_logs
from volsvc.training.dataset import load_panel

# Records published at once where memory is measured, and those that the bus keeps.
FEW, KEPT = 50, 100


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of some work, with the garbage collector as in the daemon."""
    with daemon_gc():
        started = time.perf_counter()
        work()
        return time.perf_counter() - started


def live(folder: Path) -> dict[str, float]:
    """Return the µs of a tick, by the kind of work and of market."""
    busy, calm = (list(read_records(folder / f"{name}.records")) for name in ("busy", "calm"))
    symbols = len({record.key for record in busy})
    table, each = warm_table(symbols), 1e6 / len(busy)
    result = {
        "json": each * timed(lambda: [msgspec.json.decode(record.value or b"") for record in busy]),
        "state": each * timed(lambda: absorb(table, busy)),
        "published": 1e6 / symbols * timed(publishing(warm_table(symbols))),
    }
    for name, records in (("busy", busy), ("calm", calm)):
        result[name] = 1e6 / len(records) * warm_through(records, symbols)
    return result


def rss() -> int:
    """Return the resident bytes of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def grow(folder: Path, history: int) -> dict[str, float]:
    """Return the KB that a symbol adds to a consumer, after some that were there before."""
    table = table_of(0, history=history)
    consuming = Consuming(table, queue=KEPT)
    await consuming.ready()
    await consuming.publish(read_records(folder / "first.records"), FEW)
    size, symbols = rss(), len(table)
    await consuming.publish(read_records(folder / "more.records"), FEW)
    size = rss() - size
    symbols = len(table) - symbols
    await consuming.finish()
    return {"kb": size / symbols / 1024}


def memory(folder: Path, history: str = "") -> dict[str, float]:
    """Return the KB that a symbol adds; `history` is the number of rows to keep of each."""
    return asyncio.run(grow(folder, int(history or FeatureSettings().history)))


def training_table(folder: Path) -> dict[str, float]:
    """Return the seconds of a training table of bars, after a little one."""
    for name in ("little.csv", "bars.csv"):
        cache = folder / f"{name}-{os.getpid()}"
        seconds = timed(partial(table_in, cache, folder / name))
    return {"seconds": seconds}


def table_in(cache: Path, bars: Path) -> None:
    """Build the training table of a file of bars in a folder that does not exist yet."""
    load_panel([bars], cache, lambda path: iter(()))


JOBS = {"live": live, "memory": memory, "table": training_table}

if __name__ == "__main__":
    configure_logs("error", "json")
    job, where, *more = sys.argv[1:]
    print(json.dumps(JOBS[job](Path(where), *more)))
