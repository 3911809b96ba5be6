"""What every bus has to do; run on each implementation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from volsvc.transport import Bus, OutRecord, Position, Record


class Owner:
    """An assignee that only remembers."""

    def __init__(self) -> None:
        self.owned: set[int] = set()

    async def assigned(self, positions: Mapping[int, Position]) -> None:
        """Note them."""
        self.owned |= set(positions)

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Strike them out."""
        self.owned -= set(partitions)

    def lost(self, partition: int, records: int) -> None:
        """Nothing is lost in these tests."""
        raise AssertionError(f"{records} records of {partition} are lost")


class Topics(Protocol):
    """Names for the topics of a test."""

    ticks: str
    features: str


def records(count: int, start: int = 0, keys: int = 7) -> list[OutRecord]:
    """Records of several keys, numbered in their values."""
    return [
        OutRecord(f"K{i % keys}".encode(), str(i).encode(), (("n", b"%d" % i),))
        for i in range(start, start + count)
    ]


async def take(bus: Bus, topic: str, count: int, *, commit: bool, group: str = "g") -> list[Record]:
    """Consume `count` records as a member of a group, then leave it."""
    subscription = bus.subscribe(topic, group, Owner())
    batches = subscription.batches()
    taken: list[Record] = []
    async with asyncio.timeout(30), aclosing(batches):  # type: ignore[type-var]
        async for batch in batches:
            taken += batch
            if commit and batch:
                await subscription.commit({r.partition: r.offset + 1 for r in batch})
            if len(taken) >= count:
                break
    return taken


class BusContract:
    """Tests of a `bus` fixture and a `topics` fixture that a subclass's module gives."""

    async def test_everything_arrives_once_in_order(self, bus: Bus, topics: Topics) -> None:
        """All records arrive once; those of a key in the order in which they were published."""
        sent = records(1_000)
        await bus.ready()
        await bus.publish(topics.ticks, sent[:400])
        await bus.publish(topics.ticks, sent[400:])
        taken = await take(bus, topics.ticks, 1_000, commit=True)
        assert sorted(int(r.value or b"") for r in taken) == list(range(1_000))
        for key in {r.key for r in taken}:
            of_key = [r for r in taken if r.key == key]
            assert [int(r.value or b"") for r in of_key] == sorted(
                int(r.value or b"") for r in of_key
            )
            assert len({r.partition for r in of_key}) == 1
        assert all(dict(r.headers)["n"] == r.value for r in taken)

    async def test_offsets_count_up(self, bus: Bus, topics: Topics) -> None:
        """Offsets of a partition start at 0 and have no holes."""
        await bus.ready()
        await bus.publish(topics.ticks, records(100))
        taken = await take(bus, topics.ticks, 100, commit=True)
        for partition in {r.partition for r in taken}:
            offsets = [r.offset for r in taken if r.partition == partition]
            assert offsets == list(range(len(offsets)))

    async def test_a_group_goes_on_where_it_committed(self, bus: Bus, topics: Topics) -> None:
        """What was not committed is delivered again, what was is not."""
        await bus.ready()
        await bus.publish(topics.ticks, records(50))
        first = await take(bus, topics.ticks, 50, commit=False)
        again = await take(bus, topics.ticks, 50, commit=True)
        await bus.publish(topics.ticks, records(10, start=50))
        rest = await take(bus, topics.ticks, 10, commit=True)
        assert {r.value for r in first} == {r.value for r in again}
        assert sorted(int(r.value or b"") for r in rest) == list(range(50, 60))

    async def test_tail_is_the_newest_of_each_partition(self, bus: Bus, topics: Topics) -> None:
        """The tail gives one record a partition: the last one published to it."""
        await bus.ready()
        assert list(await bus.tail(topics.ticks)) == []
        sent = records(200)
        await bus.publish(topics.ticks, sent)
        newest: dict[int, bytes | None] = {}
        for record in sent:
            newest[bus.partition_for(topics.ticks, record.key)] = record.value
        assert newest == {r.partition: r.value for r in await bus.tail(topics.ticks)}

    async def test_read_all_gives_what_is_retained(self, bus: Bus, topics: Topics) -> None:
        """All records of the asked partitions, and of no other."""
        await bus.ready()
        sent = records(300)
        await bus.publish(topics.features, sent)
        asked = sorted({bus.partition_for(topics.features, r.key) for r in sent})[:1]
        found = [r async for batch in bus.read_all(topics.features, asked) for r in batch]
        assert [r.value for r in found] == [
            r.value for r in sent if bus.partition_for(topics.features, r.key) in asked
        ]

    async def test_a_record_may_name_its_partition(self, bus: Bus, topics: Topics) -> None:
        """An explicit partition wins over the key's."""
        await bus.ready()
        await bus.publish(topics.features, [OutRecord(b"K", b"v", (), 1)])
        found = [r async for batch in bus.read_all(topics.features, [1]) for r in batch]
        assert [(r.partition, r.value) for r in found] == [(1, b"v")]

    async def test_closing_ends_the_reader(self, bus: Bus, topics: Topics) -> None:
        """After `close` the batches end by themselves."""
        await bus.ready()
        await bus.publish(topics.ticks, records(10))
        subscription = bus.subscribe(topics.ticks, "g", Owner())
        taken: list[Record] = []
        async with asyncio.timeout(30):
            async for batch in subscription.batches():
                taken += batch
                if len(taken) == 10:
                    await bus.close()
        assert len(taken) == 10
