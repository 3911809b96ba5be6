"""The in-process bus under any order of publishing, consuming, committing and closing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.unit.stepping import SteppingMachine
from tests.unit.transport.test_memory import KeptPositions
from volsvc.domain import BusError
from volsvc.transport import OutRecord, Position, Record, memory
from volsvc.transport.bus import Headers
from volsvc.transport.memory import QUIET_S, MemoryBus, MemorySubscription

PARTITIONS: Final = 3
# Small bounds, so that a few records reach each of them.
MAX_RECORDS: Final = 8
BATCH_RECORDS: Final = 4
APPEND_RECORDS: Final = 3
UNREAD_BYTES: Final = 40
LONGEST: Final = 12
MAX_PUBLISHERS: Final = 3
# A closed bus has little left to do, so it is not closed early.
CLOSES_AFTER: Final = 3 * MAX_RECORDS
MAX_FOLLOWERS: Final = 3

# Groups join `ticks` at any time; none ever reads `features`.
TOPICS: Final = ("ticks", "features")

topics = st.sampled_from(["ticks", "ticks", "features"])
groups = st.sampled_from(["a", "a", "b"])
unsent_records = st.lists(
    st.builds(
        OutRecord,
        st.sampled_from([b"K0", b"K1", b"K2", b"K3"]),
        st.none() | st.binary(max_size=LONGEST),
        partition=st.sampled_from([None, None, 0, PARTITIONS - 1]),
    ),
    min_size=4,
    max_size=2 * MAX_RECORDS,
)


@dataclass
class Publication:
    """One call of `publish`, and its records that are not in the log yet."""

    task: asyncio.Task[None]
    unsent: dict[Headers, Record]


@dataclass
class Log:
    """Everything that was ever appended to a topic, and what its groups have committed."""

    partitions: list[list[Record]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    starts: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    committed: dict[str, list[int]] = field(default_factory=dict)
    has_committed: set[tuple[str, int]] = field(default_factory=set)
    publications: list[Publication] = field(default_factory=list)

    @property
    def ends(self) -> list[int]:
        """The offset of the next record of each partition."""
        return [len(records) for records in self.partitions]

    @property
    def retained(self) -> list[list[Record]]:
        """The records that the bus keeps, by partition."""
        return [r[start:] for r, start in zip(self.partitions, self.starts, strict=True)]

    def append(self, record: Record) -> None:
        """Add a record at the end of its partition."""
        partition = self.partitions[record.partition]
        partition.append(record._replace(offset=len(partition)))

    def commit(self, group: str, offsets: Mapping[int, int]) -> None:
        """Record a commit, and drop what every group has committed."""
        for number, offset in offsets.items():
            self.committed[group][number] = offset
            self.has_committed.add((group, number))
        self.starts = [min(offsets) for offsets in zip(*self.committed.values(), strict=True)]


@dataclass
class Reader:
    """A consumer or a follower, the batch that it waits for, and what it has had."""

    log: Log
    batches: AsyncIterator[Sequence[Record]]
    position: list[int]
    subscription: MemorySubscription | None = None
    pending: asyncio.Task[Sequence[Record] | None] | None = None
    idle: bool = False
    ended: bool = False

    async def next_batch(self) -> Sequence[Record] | None:
        """Return the next batch; None at the end."""
        return await anext(self.batches, None)


def unstamped(record: Record) -> Record:
    return record._replace(timestamp_ms=0)


class BusMachine(SteppingMachine):
    """A bus beside lists of everything that went through it."""

    @initialize(joined=st.sampled_from([True, True, False]))
    def start(self, joined: bool) -> None:
        self.bus = MemoryBus(partitions=PARTITIONS, queue_max_records=MAX_RECORDS)
        self.logs = {topic: Log() for topic in TOPICS}
        self.consumers: dict[str, Reader] = {}
        self.followers: list[Reader] = []
        self.former: list[Reader] = []
        self.published = 0
        self.closed = self.quiet = False
        if joined:
            self.subscribe("a")

    # --- publishers -----------------------------------------------------------------------

    @rule(topic=topics, records=unsent_records)
    def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        log, unsent, numbered = self.logs[topic], dict[Headers, Record](), list[OutRecord]()
        if len(log.publications) == MAX_PUBLISHERS:
            return
        for record in records:
            self.published += 1
            headers = (("n", b"%d" % self.published),)
            number = record.partition
            if number is None:
                number = self.bus.partition_for(topic, record.key)
            unsent[headers] = Record(topic, number, -1, record.key, record.value, headers)
            numbered.append(record._replace(headers=headers))
        publication = Publication(self.begin(self.bus.publish(topic, numbered)), unsent)
        log.publications.append(publication)
        if not log.committed:
            # All of them were appended, though some may have been dropped again.
            for expected in unsent.values():
                log.append(expected)
            unsent.clear()

    @precondition(lambda self: self.logs["ticks"].publications)
    @rule()
    def a_publisher_gives_up(self) -> None:
        self.logs["ticks"].publications[0].task.cancel()
        self.loop.settle()

    # --- readers --------------------------------------------------------------------------

    @rule(group=groups)
    def subscribe(self, group: str) -> None:
        """The member of a group leaves, if there is one, and another takes its place."""
        former, log, listener = self.consumers.get(group), self.logs["ticks"], KeptPositions()
        if former is not None and former.pending is not None:
            former.pending.cancel()
            self.loop.settle()
        subscription = self.bus.subscribe("ticks", group, listener)
        at = log.committed.setdefault(group, list(log.starts))
        reader = Reader(log, subscription.batches(), list(at), subscription)
        reader.pending = self.begin(reader.next_batch())
        if former is not None:
            self.former.append(former)
        self.consumers[group] = reader
        assert listener.positions == {
            number: Position(at[number], end, (group, number) not in log.has_committed)
            for number, end in enumerate(log.ends)
        }

    @rule(group=groups, polls=st.integers(1, 4), data=st.data())
    def consume(self, group: str, polls: int, data: st.DataObject) -> None:
        """The member of a group gets batches, and commits nothing, a part, or all of them."""
        if group not in self.consumers:
            return
        for _ in range(polls):
            self.poll(group)
            self.all_agree_with_the_log()
        done, position = self.logs["ticks"].committed[group], self.consumers[group].position
        share = data.draw(st.sampled_from(["nothing", "nothing", "all", "part"]))
        if share == "part":
            spans = zip(done, position, strict=True)
            offsets = {n: data.draw(st.integers(*span)) for n, span in enumerate(spans)}
            del offsets[data.draw(st.integers(0, PARTITIONS - 1))]
            self.commit(group, offsets)
        elif share == "all":
            self.commit(group, dict(enumerate(position)))

    def poll(self, group: str) -> None:
        reader = self.consumers[group]
        if reader.pending is None and not reader.ended:
            reader.pending = self.begin(reader.next_batch())

    def commit(self, group: str, offsets: Mapping[int, int]) -> None:
        subscription = self.consumers[group].subscription
        assert subscription is not None
        self.logs["ticks"].commit(group, offsets)
        assert self.result(subscription.commit(offsets)) is True

    @precondition(lambda self: self.former)
    @rule(offsets=st.dictionaries(st.integers(0, PARTITIONS - 1), st.integers(0, MAX_RECORDS)))
    def a_former_member_commits_late(self, offsets: Mapping[int, int]) -> None:
        """It is refused, and what the group has committed stays."""
        subscription = self.former[-1].subscription
        assert subscription is not None
        assert self.result(subscription.commit(offsets)) is False

    @precondition(lambda self: len(self.followers) < MAX_FOLLOWERS)
    @rule(topic=topics)
    def follow(self, topic: str) -> None:
        log = self.logs[topic]
        reader = Reader(log, self.bus.follow(topic, "replica"), list(log.starts))
        reader.pending = self.begin(reader.next_batch())
        self.followers.append(reader)

    @rule()
    def nothing_comes_for_a_while(self) -> None:
        self.quiet = True
        self.loop.advance(QUIET_S)
        for reader in (*self.consumers.values(), *self.followers):
            assert reader.pending is None or reader.pending.done()

    # --- the end --------------------------------------------------------------------------

    @precondition(lambda self: self.published > CLOSES_AFTER)
    @rule(records=unsent_records, drains=st.booleans())
    def close(self, records: Sequence[OutRecord], drains: bool) -> None:
        self.publish("ticks", records)
        self.all_agree_with_the_log()
        self.closed = True
        self.result(self.bus.close())
        if drains:
            self.drain()

    def drain(self) -> None:
        """Each group gets what it has not committed; then no publisher waits any more."""
        log = self.logs["ticks"]
        for group in log.committed:
            if self.consumers[group].ended:
                self.subscribe(group)
            self.all_agree_with_the_log()
            while not self.consumers[group].ended:
                self.poll(group)
                # The results of what is left, which go to a topic without a group.
                self.publish("features", [OutRecord(b"K0", None)])
                self.all_agree_with_the_log()
            assert self.consumers[group].position == log.ends
            self.commit(group, dict(enumerate(log.ends)))
            self.all_agree_with_the_log()
        assert log.publications == []
        assert not log.committed or log.starts == log.ends

    # --- after each step ------------------------------------------------------------------

    @invariant()
    def all_agree_with_the_log(self) -> None:
        for topic, log in self.logs.items():
            self.check_what_is_retained(topic, log)
            self.check_publishers(log)
        for consumer in self.consumers.values():
            if consumer.pending is not None and consumer.pending.done():
                self.receive(consumer, consumer.pending)
        for follower in self.followers:
            while follower.pending is not None and follower.pending.done():
                self.receive(follower, follower.pending)
                if not follower.ended:
                    follower.pending = self.begin(follower.next_batch())
        for reader in (*self.consumers.values(), *self.followers):
            self.check_why_it_waits(reader)
        self.quiet = False

    def check_what_is_retained(self, topic: str, log: Log) -> None:
        found = self.result(self.read_all(topic))
        if log.committed:
            self.learn(log, found)
        else:
            ends = zip(found, log.ends, strict=True)
            log.starts = [records[0].offset if records else end for records, end in ends]
            self.check_that_no_more_was_dropped_than_needed(log)
        assert found == log.retained
        assert sum(map(len, found)) <= MAX_RECORDS
        tail = [unstamped(record) for record in self.result(self.tail(topic))]
        assert tail == [records[-1] for records in log.partitions if records]

    async def read_all(self, topic: str) -> list[list[Record]]:
        found: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        async for batch in self.bus.read_all(topic, range(PARTITIONS)):
            found[batch[0].partition] += map(unstamped, batch)
        return found

    async def tail(self, topic: str) -> Sequence[Record]:
        return await self.bus.tail(topic)

    def learn(self, log: Log, found: Sequence[Sequence[Record]]) -> None:
        """Check new records, and take over the order in which publishers took turns."""
        ends = zip(found, log.ends, strict=True)
        new = [record for records, end in ends for record in records if record.offset >= end]
        assert not (new and self.closed)
        known = 0
        for publication in log.publications:
            unsent = publication.unsent
            appended = [r._replace(offset=-1) for r in new if r.headers in unsent]
            first = [unsent.pop(headers) for headers in list(unsent)[: len(appended)]]
            # Both go from partition to partition, and each keeps the order within one.
            assert appended == sorted(first, key=lambda record: record.partition)
            known += len(appended)
        assert known == len(new)
        for record in new:
            log.append(record)

    def check_that_no_more_was_dropped_than_needed(self, log: Log) -> None:
        kept = [record for records in log.retained for record in records]
        # A value and the number in its header.
        longest = LONGEST + len(f"{self.published}")
        size = sum(len(r.value or b"") + sum(len(text) for _, text in r.headers) for r in kept)
        assert size <= UNREAD_BYTES + longest
        assert not any(log.starts) or len(kept) == MAX_RECORDS or size > UNREAD_BYTES - longest
        for records, start in zip(log.partitions, log.starts, strict=True):
            assert not records or start < len(records), "the newest of a partition is kept"

    def check_publishers(self, log: Log) -> None:
        full = sum(log.ends) - sum(log.starts) >= MAX_RECORDS
        for publication in list(log.publications):
            if not publication.task.done():
                assert full, "it waits although there is room"
                assert log.committed
                continue
            log.publications.remove(publication)
            if publication.task.cancelled():
                continue
            error = publication.task.exception()
            if error is None:
                assert not publication.unsent
            else:
                assert isinstance(error, BusError)
                assert self.closed
                assert log.committed

    def receive(self, reader: Reader, task: asyncio.Task[Sequence[Record] | None]) -> None:
        """Check a batch: everything from the reader's position on that is still there."""
        batch, reader.pending, log = task.result(), None, reader.log
        if batch is None:
            reader.ended = True
            assert self.closed
            assert reader.subscription is None or reader.idle, "a chance for a last commit"
        elif not batch:
            asked = reader.subscription is not None and (log.publications or self.closed)
            assert self.quiet or asked
        reader.idle = not batch
        if not batch:
            assert reader.subscription is None or reader.position == log.ends
            return
        assert reader.subscription is None or len(batch) <= BATCH_RECORDS
        for record in map(unstamped, batch):
            number = record.partition
            expected = reader.position[number]
            if reader.subscription is None:
                expected = max(expected, log.starts[number])
            assert record == log.partitions[number][expected]
            reader.position[number] = expected + 1

    def check_why_it_waits(self, reader: Reader) -> None:
        if reader.pending is None:
            return
        assert reader.position == reader.log.ends
        assert not self.closed
        assert reader.subscription is None or not reader.log.publications


def test_any_order_of_publishing_and_consuming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, reordered or delivered after its commit, and whoever can go on does."""
    for name in ("BATCH_RECORDS", "APPEND_RECORDS", "UNREAD_BYTES"):
        monkeypatch.setattr(memory, name, globals()[name])
    run_state_machine_as_test(
        BusMachine,
        settings=settings(max_examples=60, stateful_step_count=30, report_multiple_bugs=False),
    )
