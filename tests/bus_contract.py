"""The contract of a bus, as tests that run on each implementation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from volsvc.transport import Beginning, Bus, OutRecord, Position, Record


class RecordingListener:
    """A rebalance listener that records which partitions are assigned."""

    def __init__(self) -> None:
        self.partitions: set[int] = set()

    async def assigned(self, positions: Mapping[int, Position]) -> None:
        """Add the partitions."""
        self.partitions |= set(positions)

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Remove the partitions."""
        self.partitions -= set(partitions)

    def records_lost(self, partition: int, records: int) -> None:
        """Fail: no test of the contract loses records."""
        raise AssertionError(f"{records} records of partition {partition} are lost")

    def topic_recreated(self, topic: str) -> None:
        """Fail: no test of the contract deletes a topic."""
        raise AssertionError(f"{topic} is a new one")


class Topics(Protocol):
    """The names of a test's topics."""

    ticks: str
    features: str


def records(count: int, start: int = 0, keys: int = 7) -> list[OutRecord]:
    """Return records of several keys, numbered in their values."""
    return [
        OutRecord(f"K{i % keys}".encode(), str(i).encode(), (("n", b"%d" % i),))
        for i in range(start, start + count)
    ]


async def take(bus: Bus, topic: str, count: int, *, commit: bool) -> list[Record]:
    """Consume `count` records as a member of the topic's group, then leave it."""
    # A group for each topic: a member of another test would be waited for until its session ends.
    subscription = bus.subscribe(topic, f"of {topic}", RecordingListener())
    batches = subscription.batches()
    taken: list[Record] = []
    async with asyncio.timeout(60), aclosing(batches):  # type: ignore[type-var]
        async for batch in batches:
            taken += batch
            if commit and batch:
                await subscription.commit({r.partition: r.offset + 1 for r in batch})
            if len(taken) >= count:
                break
    return taken


class BusContract:
    """Tests of the fixtures `bus` and `topics`, which the module of a subclass defines."""

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
        """Offsets of a partition start at 0 and have no gaps."""
        await bus.ready()
        await bus.publish(topics.ticks, records(100))
        taken = await take(bus, topics.ticks, 100, commit=True)
        for partition in {r.partition for r in taken}:
            offsets = [r.offset for r in taken if r.partition == partition]
            assert offsets == list(range(len(offsets)))

    async def test_a_group_resumes_at_its_commit(self, bus: Bus, topics: Topics) -> None:
        """Uncommitted records are delivered again, committed ones are not."""
        await bus.ready()
        await bus.publish(topics.ticks, records(50))
        first = await take(bus, topics.ticks, 50, commit=False)
        again = await take(bus, topics.ticks, 50, commit=True)
        await bus.publish(topics.ticks, records(10, start=50))
        rest = await take(bus, topics.ticks, 10, commit=True)
        assert {r.value for r in first} == {r.value for r in again}
        assert sorted(int(r.value or b"") for r in rest) == list(range(50, 60))

    async def test_tail_is_the_newest_of_each_partition(self, bus: Bus, topics: Topics) -> None:
        """The tail has one record per partition, the last one published to it."""
        await bus.ready()
        assert list(await bus.tail(topics.ticks)) == []
        sent = records(200)
        await bus.publish(topics.ticks, sent)
        newest: dict[int, bytes | None] = {}
        for record in sent:
            newest[bus.partition_for(topics.ticks, record.key)] = record.value
        assert newest == {r.partition: r.value for r in await bus.tail(topics.ticks)}

    async def test_read_all_yields_retained_records(self, bus: Bus, topics: Topics) -> None:
        """All records of the given partitions are read, and none of another."""
        await bus.ready()
        sent = records(300)
        await bus.publish(topics.features, sent)
        chosen = sorted({bus.partition_for(topics.features, r.key) for r in sent})[:1]
        found = [r async for batch in bus.read_all(topics.features, chosen) for r in batch]
        assert [r.value for r in found] == [
            r.value for r in sent if bus.partition_for(topics.features, r.key) in chosen
        ]

    async def test_a_reader_goes_on_where_it_was(self, bus: Bus, topics: Topics) -> None:
        """It begins at its positions, elsewhere at the start, and at most so far before the end."""
        await bus.ready()
        for partition in range(3):
            sent = [OutRecord(b"K", b"%d" % i, (), partition) for i in range(10)]
            await bus.publish(topics.features, sent)
        for beginning, expected in (
            (Beginning(), [0, 0, 0]),
            # A position beyond the end is one of another log.
            (Beginning({0: 10, 1: 7, 2: 11}), [10, 7, 0]),
            (Beginning({0: 9, 1: 2}, most=4), [9, 6, 6]),
            (Beginning(most=0), [10, 10, 10]),
        ):
            found: list[Record] = []
            batches = bus.follow(topics.features, "history", beginning)
            async with asyncio.timeout(60), aclosing(batches):  # type: ignore[type-var]
                async for batch in batches:
                    found += batch
                    if not batch:
                        break
            offsets = [[r.offset for r in found if r.partition == p] for p in range(3)]
            assert offsets == [list(range(first, 10)) for first in expected]

    async def test_a_record_may_have_an_explicit_partition(self, bus: Bus, topics: Topics) -> None:
        """An explicit partition takes precedence over that of the key."""
        await bus.ready()
        await bus.publish(topics.features, [OutRecord(b"K", b"v", (), 1)])
        found = [r async for batch in bus.read_all(topics.features, [1]) for r in batch]
        assert [(r.partition, r.value) for r in found] == [(1, b"v")]

    async def test_close_ends_the_batches(self, bus: Bus, topics: Topics) -> None:
        """The batches of a subscription end after `close`."""
        await bus.ready()
        await bus.publish(topics.ticks, records(10))
        subscription = bus.subscribe(topics.ticks, "g", RecordingListener())
        taken: list[Record] = []
        async with asyncio.timeout(60):
            async for batch in subscription.batches():
                taken += batch
                if len(taken) == 10:
                    await bus.close()
        assert len(taken) == 10

    async def test_ends_are_those_of_the_log(self, bus: Bus, topics: Topics) -> None:
        """The end of a partition is the offset of the next record, 0 if it has none."""
        await bus.ready()
        await bus.publish(topics.ticks, [OutRecord(b"K", b"v", (), 1)] * 3)
        assert await bus.ends(topics.ticks, [0, 1]) == {0: 0, 1: 3}

    async def test_a_log_is_named_by_topic_and_partitions(self, bus: Bus, topics: Topics) -> None:
        """The name tells logs apart whose offsets do not compare."""
        await bus.ready()
        assert bus.log_name(topics.ticks) == f"{topics.ticks}/3"
