"""Tests of the latest store and of the features follower that updates it."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tests.daemon import eventually
from volsvc.domain import NS, FeatureRow, Quality, Snapshot
from volsvc.pipeline.features_follower import FeaturesFollower
from volsvc.pipeline.latest_store import LatestStore
from volsvc.transport import OutRecord
from volsvc.transport.codec import encode_features
from volsvc.transport.features_record import RecordHeader
from volsvc.transport.memory import MemoryBus

TOPIC = "ticks.features"


def snapshot(price: float, symbol: str = "BTC-USD") -> Snapshot:
    row = FeatureRow(symbol, 1_767_571_200 * NS, price, 0.0, 1e-5, 49, 10.0)
    return Snapshot(row, 0.1, "ml", "1", (), Quality(0, 0, 0, 1.0, "ok"), {"level": None})


def record(price: float, offset: int, writer: str, symbol: str = "BTC-USD") -> OutRecord:
    state = {"partition": 0, "offset": offset, "digest": {"closed": None}}
    return encode_features(snapshot(price, symbol), state, 1_800_000_000 * NS, writer)


@given(st.lists(st.integers(0, 20), min_size=1))
def test_the_latest_store_never_goes_back(offsets: list[int]) -> None:
    """Entries in any order leave the one of the highest offset so far."""
    latest_store = LatestStore()
    for count, offset in enumerate(offsets, 1):
        latest_store.put(snapshot(float(offset + 1)), 0.0, offset)
        newest = max(offsets[:count])
        assert latest_store.get("BTC-USD").snapshot.row.price == newest + 1
        assert latest_store.offset("BTC-USD") == newest


async def test_the_follower_stores_records_of_others() -> None:
    """Newer records of others are stored with their time; older, own and broken ones are not."""
    bus, latest_store = MemoryBus(), LatestStore()
    headers: list[RecordHeader] = []
    follower = FeaturesFollower(bus, TOPIC, latest_store, headers.append)
    task = asyncio.create_task(follower.run())
    broken = record(1.0, 9, "other#1", "BROKEN")._replace(value=b"{}")
    await bus.publish(
        TOPIC,
        [
            record(100.0, 5, "other#1"),
            record(101.0, 7, "other#1"),
            record(50.0, 3, "stale#1"),
            record(60.0, 99, bus.identity),
            broken,
            OutRecord(b"BTC-USD", None),
            OutRecord(b"BTC-USD", b"somebody else's"),
        ],
    )

    async def applied() -> bool:
        return len(latest_store) > 0 and follower.caught_up.is_set()

    await eventually(applied, 10, "the records are applied")
    entry = latest_store.get("BTC-USD")
    assert (entry.snapshot.row.price, entry.offset) == (101.0, 7)
    assert entry.processed_s == 1_800_000_000
    assert entry.snapshot == snapshot(101.0)
    assert len(latest_store) == 1
    assert [header.offset for header in headers] == [5, 7, 3, 9]
    await bus.close()
    async with asyncio.timeout(5):
        await task
