"""Tests of the in-process bus."""

import asyncio
from types import SimpleNamespace

import pytest

from tests.bus_contract import BusContract, RecordingListener, records
from volsvc.transport import OutRecord, Record
from volsvc.transport.memory import UNREAD_BYTES, MemoryBus


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus(partitions=3)


@pytest.fixture
def topics() -> SimpleNamespace:
    return SimpleNamespace(ticks="ticks", features="features")


class TestMemoryBus(BusContract):
    """The contract on the in-process bus."""


async def test_a_full_topic_blocks_the_publisher() -> None:
    """A publisher waits for the group's commit, and nothing is lost."""
    bus = MemoryBus(partitions=2, queue_max_records=10)
    subscription = bus.subscribe("ticks", "g", RecordingListener())
    publishing = asyncio.create_task(bus.publish("ticks", records(100)))
    taken: list[Record] = []
    async with asyncio.timeout(10):
        async for batch in subscription.batches():
            assert len(batch) <= 10
            taken += batch
            if batch:
                continue
            await subscription.commit({r.partition: r.offset + 1 for r in taken})
            if len(taken) == 100:
                break
    await publishing
    assert len(taken) == 100


async def test_published_records_are_delivered_after_close() -> None:
    """Records that are in the log when the bus closes are still delivered."""
    bus = MemoryBus()
    subscription = bus.subscribe("ticks", "g", RecordingListener())
    await bus.publish("ticks", records(2_000))
    await bus.close()
    taken = [r async for batch in subscription.batches() for r in batch]
    assert len(taken) == 2_000


async def test_topics_without_a_group_are_bounded_in_bytes() -> None:
    """Large records displace older ones sooner."""
    bus, large = MemoryBus(partitions=1), 1 << 16
    published = [OutRecord(b"BTC-USD", bytes([n % 251]) * large) for n in range(400)]
    await bus.publish("features", published)
    kept = [r.value async for batch in bus.read_all("features", [0]) for r in batch]
    assert len(kept) * large <= UNREAD_BYTES + large
    assert kept == [record.value for record in published[-len(kept) :]]


async def test_topics_without_a_group_keep_the_newest() -> None:
    """A topic that no group consumes is bounded in records."""
    bus = MemoryBus(partitions=1, queue_max_records=10)
    await bus.publish("features", records(25))
    kept = [r async for batch in bus.read_all("features", [0]) for r in batch]
    assert [r.offset for r in kept] == list(range(15, 25))
