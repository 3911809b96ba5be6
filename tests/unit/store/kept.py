"""A store, the records that it keeps, and the reports that it makes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volsvc.store import MINUTE_ROW, Feed, Minutes, Retention, Store
from volsvc.telemetry.health import Status
from volsvc.transport import OutRecord
from volsvc.transport.features_record import OFFSET_HEADER, STATE_HEADER
from volsvc.transport.memory import KeptPosition

TOPIC = "ticks.features"
FEED = "coinbase"
PARTITIONS = 6
RETENTION = Retention(90, 10**10)
MODELS = (("ml", "7"), ("baseline", "1"))
# 2026-01-05T00:00Z, at which a block begins.
MINUTE = 29_459_520


class Reports:
    """Everything that a store has reported, in its order."""

    def __init__(self) -> None:
        self.health: list[tuple[Status, str]] = []
        self.failures = 0
        self.lost = 0
        self.written = asyncio.Event()

    def store(self, status: Status, detail: str) -> None:
        self.health.append((status, detail))

    def stored(self, seconds: float, records: int) -> None:
        assert seconds >= 0
        self.written.set()

    def store_size(self, size_bytes: int) -> None:
        assert size_bytes > 0

    def minutes_lost(self, rows: int) -> None:
        self.lost += rows

    def not_stored(self) -> None:
        self.failures += 1


def opened(path: Path, reports: Reports | None = None, **options: Any) -> Store:
    """Open the store at a path, by default for FEED."""
    feed = Feed(**{"name": FEED, "partitions": PARTITIONS, **options})
    return Store(path, feed, TOPIC, RETENTION, reports or Reports())


@contextlib.asynccontextmanager
async def running(
    path: Path, reports: Reports | None = None, **options: Any
) -> AsyncIterator[Store]:
    """Yield an open store that writes, and close it."""
    store = opened(path, reports, **options)
    task = asyncio.ensure_future(store.run())
    try:
        yield store
    finally:
        store.close()
        await task


def record(symbol: str, offset: int, content: bytes) -> OutRecord:
    """Return a record as the consumer publishes it, with a state."""
    headers = ((OFFSET_HEADER, b"%d" % offset), (STATE_HEADER, content))
    return OutRecord(symbol.encode(), b'{"offset":%d}' % offset, headers, offset % PARTITIONS)


def kept(store: Store) -> dict[str, tuple[bytes | None, Mapping[str, bytes], int | None]]:
    """Return the records that a store has read: value, headers and partition by symbol."""
    return {
        one.key.decode(): (one.value, dict(one.headers), one.partition) for one in store.records
    }


def as_kept(*records: OutRecord) -> dict[str, tuple[bytes | None, Mapping[str, bytes], int | None]]:
    """Return records as `kept` does."""
    return {one.key.decode(): (one.value, dict(one.headers), one.partition) for one in records}


def position(at: int) -> KeptPosition:
    """Return a position with the header of the tick before it."""
    return KeptPosition(at, (("volsvc-position", b"file:%d" % at),))


def minutes(symbol: str, first: int, count: int, seed: int = 0) -> Minutes:
    """Return consecutive minutes of random numbers."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(count, MINUTE_ROW)
    rows["minute"] = first + np.arange(count)
    for name in ("open", "high", "low", "close"):
        rows[name] = np.round(rng.uniform(1e3, 1e5, count), 2)
    for name in ("variance", "forecasts", "shadow_sigmas", "ret_std"):
        rows[name] = rng.lognormal(-12, 1, rows[name].shape)
    rows["ticks"] = rng.integers(1, 500, count)
    rows["shadow"] = 1
    return Minutes([symbol] * count, rows, MODELS)


def same_digits(found: NDArray[Any], given: NDArray[Any], but: Sequence[str] = ()) -> bool:
    """Return True if rows are those that were given, to the digits that are kept."""
    return all(
        np.allclose(found[name], given[name], rtol=2**-13, atol=0, equal_nan=True)
        for name in MINUTE_ROW.names or ()
        if name not in but
    )
