"""Publishers and consumers of the in-process bus that wait for each other."""

from __future__ import annotations

import asyncio

import pytest

from tests.bus_contract import RecordingListener, records
from volsvc.domain import BusError
from volsvc.transport import Record
from volsvc.transport.memory import MemoryBus, MemorySubscription


@pytest.fixture(autouse=True)
def never_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no quiet time end a wait that something else has to end."""
    monkeypatch.setattr("volsvc.transport.memory.QUIET_S", 600.0)


async def turn_over() -> None:
    """Let every other task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def commit(subscription: MemorySubscription, batch: list[Record]) -> None:
    assert await subscription.commit({batch[-1].partition: batch[-1].offset + 1})


async def test_a_blocked_publisher_wakes_an_idle_consumer() -> None:
    """One that waits for records gets an empty batch as soon as somebody waits for room."""
    bus = MemoryBus(partitions=1, queue_max_records=1)
    subscription = bus.subscribe("ticks", "g", RecordingListener())
    batches = subscription.batches()
    await bus.publish("ticks", records(1))
    async with asyncio.timeout(5):
        batch = list(await anext(batches))
        idle = asyncio.ensure_future(anext(batches))
        await turn_over()
        assert not idle.done()
        publishing = asyncio.create_task(bus.publish("ticks", records(1)))
        assert await idle == []
        await commit(subscription, batch)
        await publishing


async def test_a_consumer_is_asked_for_room_while_anybody_waits() -> None:
    """Each of several publishers is let in by a commit, and after the last one nobody asks."""
    bus = MemoryBus(partitions=1, queue_max_records=1)
    subscription = bus.subscribe("ticks", "g", RecordingListener())
    batches = subscription.batches()
    await bus.publish("ticks", records(1))
    publishing = [asyncio.create_task(bus.publish("ticks", records(1))) for _ in range(3)]
    await turn_over()
    async with asyncio.timeout(5):
        for waiting in (3, 2, 1):
            assert sum(not task.done() for task in publishing) == waiting
            batch = list(await anext(batches))
            assert len(batch) == 1
            assert await anext(batches) == []
            await commit(subscription, batch)
            await turn_over()
        await asyncio.gather(*publishing)
        assert len(await anext(batches)) == 1
    idle = asyncio.ensure_future(anext(batches))
    await turn_over()
    assert not idle.done()
    await bus.close()
    async with asyncio.timeout(5):
        assert await idle == []


async def test_a_new_member_starts_after_its_own_groups_commits() -> None:
    """Records that another group has yet to read are kept for that group only."""
    bus = MemoryBus(partitions=1)
    first, _ = (bus.subscribe("ticks", group, RecordingListener()) for group in ("g", "other"))
    await bus.publish("ticks", records(6))
    assert await first.commit({0: 4})
    for group, offsets in (("g", [4, 5]), ("other", [0, 1, 2, 3, 4, 5])):
        batches = bus.subscribe("ticks", group, RecordingListener()).batches()
        assert [record.offset for record in await anext(batches)] == offsets


async def test_the_error_of_a_closed_bus() -> None:
    """Its text is the whole of what the publisher is told."""
    bus = MemoryBus(partitions=1, groups={"ticks": "g"})
    await bus.close()
    with pytest.raises(BusError) as caught:
        await bus.publish("ticks", records(1))
    assert str(caught.value) == "the bus is closed"
