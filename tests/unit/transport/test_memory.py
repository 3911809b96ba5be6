"""Tests of the in-process bus."""

import asyncio
import time
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from tests.bus_contract import BusContract, RecordingListener, records
from volsvc.config.settings import BusSettings, Settings
from volsvc.daemon.listeners import PartsListener
from volsvc.domain import BusError
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord, Position, Record
from volsvc.transport.factory import build_bus
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


async def all_records(bus: MemoryBus, topic: str, partitions: int) -> list[Record]:
    """Return the retained records of a topic, in partition after partition."""
    batches = bus.read_all(topic, range(partitions))
    return [record async for batch in batches for record in batch]


async def test_records_are_stamped_with_the_time_of_their_publication() -> None:
    """A record has its topic, and the whole milliseconds of the wall clock."""
    bus = MemoryBus(partitions=1)
    before_ms = time.time_ns() // 1_000_000
    await bus.publish("ticks", records(3))
    after_ms = time.time_ns() // 1_000_000
    for record in await all_records(bus, "ticks", 1):
        assert isinstance(record.timestamp_ms, int)
        assert before_ms <= record.timestamp_ms <= after_ms
        assert record.topic == "ticks"
    assert await all_records(bus, "features", 1) == []


async def test_a_topic_without_a_group_drops_from_its_longest_partition() -> None:
    """A partition with few records keeps them while another one has many."""
    bus = MemoryBus(partitions=3, queue_max_records=6)
    for number in (1, 0, 2, 0, 2, 2, 2, 2):
        await bus.publish("features", [OutRecord(b"K", b"v", (), number)])
    kept = [(r.partition, r.offset) for r in await all_records(bus, "features", 3)]
    assert kept == [(0, 0), (0, 1), (1, 0), (2, 2), (2, 3), (2, 4)]


@pytest.mark.parametrize("header", [0, 4, 10])
@pytest.mark.parametrize(("size", "kept"), [(10, 5), (11, 4)])
async def test_the_bound_in_bytes(
    size: int, kept: int, header: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic may be as large as its bound before another record comes; null has no size.

    A record is as large as its value and those of its headers, in one of which is a state.
    """
    monkeypatch.setattr("volsvc.transport.memory.UNREAD_BYTES", 40)
    bus = MemoryBus(partitions=1)
    await bus.publish("features", [OutRecord(b"K", None)])
    value = bytes(size - header)
    await bus.publish("features", [OutRecord(b"K", value, (("state", bytes(header)),))] * 5)
    found = await all_records(bus, "features", 1)
    assert [record.value for record in found[-kept:]] == [value] * kept
    assert len(found) == (kept + 1 if kept == 5 else kept)


async def test_the_usual_bounds() -> None:
    """A bus has six partitions, and topics of ten thousand records."""
    bus = MemoryBus()
    published = [OutRecord(b"K", b"", (), number) for number in range(6)] * 1_700
    await bus.publish("features", published)
    assert len(await all_records(bus, "features", 6)) == 10_000
    with pytest.raises(IndexError):
        await bus.publish("features", [OutRecord(b"K", b"", (), 6)])


@pytest.mark.parametrize("count", [99, 100, 199, 200, 301])
async def test_others_have_their_turn_during_a_publication(count: int) -> None:
    """Another task may run after each hundred records, and at the end."""
    bus, lengths = MemoryBus(partitions=1), list[int]()
    publishing = asyncio.create_task(bus.publish("features", records(count)))
    while not publishing.done():
        await asyncio.sleep(0)
        lengths.append(len(await all_records(bus, "features", 1)))
    assert sorted({*lengths}) == sorted({*range(100, count, 100), count})
    assert len(lengths) < 20


async def test_a_waiting_reader_gets_what_comes() -> None:
    """A consumer and a follower that wait get the next batch, and no empty one before it."""
    bus = MemoryBus(partitions=1)
    consumer = bus.subscribe("ticks", "g", RecordingListener()).batches()
    follower = bus.follow("ticks", "replica")
    async with asyncio.timeout(5):
        for number in range(3):
            waiting = [asyncio.ensure_future(anext(reader)) for reader in (consumer, follower)]
            await asyncio.sleep(0.001)
            assert not any(task.done() for task in waiting)
            await bus.publish("ticks", records(1, number))
            for batch in await asyncio.gather(*waiting):
                assert [record.value for record in batch] == [b"%d" % number]
        await bus.close()
        assert await anext(consumer) == []
        assert await anext(consumer, None) is await anext(follower, None) is None


async def test_a_reader_hears_of_a_quiet_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a record for a while both kinds of reader get an empty batch."""
    monkeypatch.setattr("volsvc.transport.memory.QUIET_S", 0.001)
    bus = MemoryBus(partitions=1)
    async with asyncio.timeout(5):
        assert await anext(bus.subscribe("ticks", "g", RecordingListener()).batches()) == []
        assert await anext(bus.follow("ticks", "replica")) == []


async def test_a_closed_bus_takes_no_more_for_a_group() -> None:
    """After `stop`, as after `close`, only topics without a group take records."""
    for end in (MemoryBus.close, MemoryBus.stop):
        bus = MemoryBus(partitions=1)
        assert bus.closed is False
        bus.subscribe("ticks", "g", RecordingListener())
        await end(bus)
        await bus.publish("features", records(1))
        with pytest.raises(BusError, match="the bus is closed"):
            await bus.publish("ticks", records(1))
        assert len(await all_records(bus, "features", 1)) == 1
        assert await all_records(bus, "ticks", 1) == []


class KeptPositions(RecordingListener):
    """A listener that keeps the positions of its partitions."""

    def __init__(self) -> None:
        super().__init__()
        self.positions: dict[int, Position] = {}

    async def assigned(self, positions: Mapping[int, Position]) -> None:
        """Keep the positions."""
        self.positions = dict(positions)


async def test_a_member_learns_where_it_starts_and_where_the_log_ends() -> None:
    """A partition without a commit is fresh, and starts at the oldest record that is kept."""
    bus, listener = MemoryBus(partitions=3, queue_max_records=4), KeptPositions()
    await bus.publish("ticks", [OutRecord(b"K", b"v", (), 0)] * 6)
    subscription = bus.subscribe("ticks", "g", listener)
    await anext(subscription.batches())
    nothing = Position(0, 0, fresh=True)
    assert listener.positions == {0: Position(2, 6, fresh=True), 1: nothing, 2: nothing}
    assert await subscription.commit({0: 3, 1: 0})
    await anext(bus.subscribe("ticks", "g", listener).batches())
    assert listener.positions == {
        0: Position(3, 6, fresh=False),
        1: Position(0, 0, fresh=False),
        2: nothing,
    }


async def test_a_follower_starts_with_all_that_is_kept() -> None:
    """Its first batch has the records of every partition, from the first one on."""
    bus = MemoryBus(partitions=3)
    await bus.publish("features", records(20))
    batch = await anext(bus.follow("features", "replica"))
    assert batch == await all_records(bus, "features", 3)
    assert sorted(int(record.value or b"") for record in batch) == list(range(20))


async def test_batches_are_bounded_over_all_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch has at most so many records, from whichever partitions."""
    monkeypatch.setattr("volsvc.transport.memory.BATCH_RECORDS", 4)
    bus = MemoryBus(partitions=3)
    await bus.publish("ticks", [OutRecord(b"K", b"v", (), n % 3) for n in range(9)])
    batches = bus.subscribe("ticks", "g", RecordingListener()).batches()
    assert [len(await anext(batches)) for _ in range(3)] == [4, 4, 1]


async def test_a_former_member_commits_no_more() -> None:
    """Its late commit takes no records away from its successor."""
    bus = MemoryBus(partitions=1)
    await bus.publish("ticks", records(6))
    former = bus.subscribe("ticks", "g", RecordingListener())
    await anext(former.batches())
    assert await former.commit({0: 2})
    present = bus.subscribe("ticks", "g", RecordingListener())
    assert not await former.commit({0: 1})
    assert not await former.commit({0: 6})
    assert [record.offset for record in await anext(present.batches())] == [2, 3, 4, 5]
    assert await present.commit({0: 3})


async def test_ticks_wait_for_a_consumer_that_starts_late() -> None:
    """Whichever of producer and consumer runs first, a full topic waits for the group."""
    settings = Settings(bus=BusSettings(queue_max_records=10))
    bus = build_bus(settings, PartsListener(Metrics(), Health()), "here")
    publishing = asyncio.create_task(bus.publish("ticks.raw", records(25)))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not publishing.done()
    taken: list[Record] = []
    async with asyncio.timeout(10):
        subscription = bus.subscribe("ticks.raw", "volsvc", RecordingListener())
        async for batch in subscription.batches():
            taken += batch
            await subscription.commit({r.partition: r.offset + 1 for r in taken})
            if len(taken) == 25:
                break
        await publishing
    assert sorted(int(record.value or b"") for record in taken) == list(range(25))
