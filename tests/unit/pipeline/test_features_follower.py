"""The global table: the board, who follows the features topic for it, and names of instances."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.daemon import eventually
from volsvc.daemon.instance_name import InstanceName
from volsvc.domain import NS, BusUnavailableError, FeatureRow, Quality, Snapshot
from volsvc.pipeline.features_follower import FeaturesFollower
from volsvc.pipeline.latest_store import LatestStore
from volsvc.transport import OutRecord
from volsvc.transport.codec import encode_features
from volsvc.transport.features_record import RecordHeader
from volsvc.transport.kafka.progress import Watchdog
from volsvc.transport.memory import MemoryBus

TOPIC = "ticks.features"


def said(price: float, symbol: str = "BTC-USD") -> Snapshot:
    row = FeatureRow(symbol, 1_767_571_200 * NS, price, 0.0, 1e-5, 49, 10.0)
    return Snapshot(row, 0.1, "ml", "1", (), Quality(0, 0, 0, 1.0, "ok"), {"level": None})


def record(price: float, offset: int, writer: str, symbol: str = "BTC-USD") -> OutRecord:
    state = {"partition": 0, "offset": offset, "digest": {"closed": None}}
    return encode_features(said(price, symbol), state, 1_800_000_000 * NS, writer)


@given(st.lists(st.integers(0, 20), min_size=1))
def test_the_board_never_goes_back(offsets: list[int]) -> None:
    """Whatever comes in whatever order, what stands is of the newest tick so far."""
    latest_store = LatestStore()
    for count, offset in enumerate(offsets, 1):
        latest_store.post(said(float(offset + 1)), 0.0, offset)
        newest = max(offsets[:count])
        assert latest_store.get("BTC-USD").snapshot.row.price == newest + 1
        assert latest_store.offset("BTC-USD") == newest


async def test_a_replica_adopts_what_others_say() -> None:
    """Newer records of others are posted with their time; older, own and broken ones are not."""
    bus, latest_store = MemoryBus(), LatestStore()
    seen: list[RecordHeader] = []
    follower = FeaturesFollower(bus, TOPIC, latest_store, seen.append)
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

    async def adopted() -> bool:
        return len(latest_store) > 0 and follower.caught_up.is_set()

    await eventually(adopted, 10, "the records are adopted")
    posted = latest_store.get("BTC-USD")
    assert (posted.snapshot.row.price, posted.offset) == (101.0, 7)
    assert posted.processed_s == 1_800_000_000
    assert posted.snapshot == said(101.0)
    assert len(latest_store) == 1
    assert [s.offset for s in seen] == [5, 7, 3, 9]
    await bus.close()
    async with asyncio.timeout(5):
        await task


def test_names_are_one_process_each(tmp_path: Path) -> None:
    """A second process gets a name of its own, and a name that is let go is given again."""
    first = InstanceName("host/1", tmp_path)
    second = InstanceName("host/1", tmp_path)
    assert (first.name, second.name) == ("host_1", "host_1-2")
    first.release()
    again = InstanceName("host/1", tmp_path)
    assert again.name == "host_1"
    again.release()
    second.release()


async def test_a_watchdog_tells_stuck_from_idle() -> None:
    """It bites who stands still with work to do, and never who has none."""
    watchdog = Watchdog(0.0)
    watchdog.moved()
    watchdog.stood_still("records wait")
    watchdog.moved()
    watchdog.stood_still("records wait")
    await asyncio.sleep(0.001)
    with pytest.raises(BusUnavailableError, match="records wait"):
        watchdog.stood_still("records wait")
