"""The in-process bus: a bounded log with partitions, offsets and back-pressure.

A topic with a group keeps the records that the group has not committed yet, and makes publishers
wait when it is full, so nothing is lost. A topic without a group keeps the newest records, as a
broker's retention would.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from volsvc.domain import BusError
from volsvc.transport.bus import (
    FROM_START,
    Beginning,
    Headers,
    Offsets,
    OutRecord,
    Position,
    RebalanceListener,
    Record,
)
from volsvc.transport.partitions import log_name

# Records of a batch: enough to spread its fixed cost, few enough to be processed promptly.
BATCH_RECORDS = 500
# Records appended in a row, after which other tasks have their turn.
APPEND_RECORDS = 100
# The size of a topic without a group. Bytes and not records: one with a symbol's state has 30 kB.
UNREAD_BYTES = 8 << 20
# An empty batch is yielded after this long without a record.
QUIET_S = 1.0


class KeptPosition(NamedTuple):
    """The next offset of a partition, and the headers of the record before it."""

    next: int
    headers: Headers


class Keeper(Protocol):
    """Keeps what an in-process bus has to know after a restart."""

    @property
    def partitions(self) -> int:
        """The number of partitions, which stays what it was at the first start."""
        ...

    @property
    def positions(self) -> Mapping[int, KeptPosition]:
        """The positions that a former process had committed, by partition."""
        ...

    @property
    def records(self) -> Sequence[OutRecord]:
        """The newest records of the topic that is kept, one of each key."""
        ...

    def keep(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Take records that were published; they are kept from the next commit on."""
        ...

    def commit(self, positions: Mapping[int, KeptPosition]) -> None:
        """Take the positions up to which the records before were published."""
        ...


class _Signal(asyncio.Condition):
    """Wakes tasks that wait for records or for room."""

    async def wait_within(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `condition` holds, and return False if it does not within the timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self:
                await self.wait_for(condition)
                return True
        return False

    async def wake_all(self) -> None:
        """Wake every waiting task, and let it run."""
        async with self:
            self.notify_all()
        # A bus across a network yields at every call; without this a full-speed replay would not.
        await asyncio.sleep(0)


@dataclass(slots=True)
class _Partition:
    # A list, since parts of it are read far more often than its oldest records are dropped.
    records: list[Record] = field(default_factory=list)
    start: int = 0
    # The record before `start`, if there was one.
    dropped: Record | None = None

    @property
    def end(self) -> int:
        return self.start + len(self.records)

    def read(self, offset: int, limit: int) -> list[Record]:
        first = max(0, offset - self.start)
        return self.records[first : first + limit]

    def before(self, offset: int) -> Record | None:
        """Return the record before an offset from `start` on; None at the start of the log."""
        return self.dropped if offset == self.start else self.records[offset - 1 - self.start]

    def drop(self, count: int) -> None:
        self.dropped = self.before(self.start + count)
        del self.records[:count]
        self.start += count


class _Topic:
    def __init__(self, name: str, partitions: int) -> None:
        self.name = name
        self.partitions = [_Partition() for _ in range(partitions)]
        # By group; a partition in which a group has committed nothing is not there.
        self.committed: dict[str, dict[int, int]] = {}
        # By group: its only member, the one that subscribed last.
        self.members: dict[str, MemorySubscription] = {}
        self.blocked_publishers = 0
        self.records = 0
        self.size_bytes = 0

    @property
    def ends(self) -> list[int]:
        return [partition.end for partition in self.partitions]

    def append(self, records: Sequence[OutRecord]) -> None:
        name, partitions, new = self.name, self.partitions, tuple.__new__
        now_ms = time.time_ns() // 1_000_000
        for key, value, headers, number in records:
            if number is None:
                number = zlib.crc32(key) % len(partitions)
            partition = partitions[number]
            kept = partition.records
            offset = partition.start + len(kept)
            # `Record(...)` is one more call in Python for each of them.
            kept.append(new(Record, (name, number, offset, key, value, headers, now_ms)))
        self.records += len(records)
        # A group's records are dropped as it commits; others are bounded by their bytes.
        if not self.committed:
            self.size_bytes += sum(map(_size, records))

    def resume(self, positions: Mapping[int, KeptPosition]) -> dict[int, int]:
        """Go on after the records of a former process; return the offsets that come next."""
        for number, at in positions.items():
            partition = self.partitions[number]
            partition.start = at.next
            partition.dropped = Record(self.name, number, at.next - 1, None, None, at.headers)
        return {number: at.next for number, at in positions.items()}

    def kept(self, offsets: Offsets) -> dict[int, KeptPosition]:
        """Return offsets that are being committed with the headers of the records before them."""
        before = {number: self.partitions[number].before(at) for number, at in offsets.items()}
        return {
            number: KeptPosition(at, record.headers if (record := before[number]) else ())
            for number, at in offsets.items()
        }

    def trim(self) -> None:
        """Drop what every group has committed."""
        if not self.committed:
            return
        for number, partition in enumerate(self.partitions):
            groups = self.committed.values()
            oldest = min(offsets.get(number, partition.start) for offsets in groups)
            count = max(0, min(oldest - partition.start, len(partition.records)))
            partition.drop(count)
            self.records -= count

    def drop_oldest(self) -> None:
        """Drop the oldest record of the longest partition."""
        partition = max(self.partitions, key=lambda p: len(p.records))
        self.size_bytes -= _size(partition.records[0])
        partition.drop(1)
        self.records -= 1


def _size(record: OutRecord | Record) -> int:
    size = len(record.value or b"")
    for _, value in record.headers:
        size += len(value)
    return size


class MemoryBus:
    """A `Bus` inside one process, for one event loop."""

    def __init__(
        self,
        *,
        partitions: int = 6,
        queue_max_records: int = 10_000,
        groups: Mapping[str, str] | None = None,
        kept_topic: str = "",
        keeper: Keeper | None = None,
    ) -> None:
        """`groups` has the group of each topic that keeps its records until that group commits.

        It need not have joined yet: what is published before is kept for it. With a `keeper` the
        bus goes on at the committed positions, and `kept_topic` begins with the kept records.
        """
        self._partition_count = partitions
        self._max_records = queue_max_records
        self._topics: dict[str, _Topic] = {}
        self._changed = _Signal()
        self.closed = False
        self.keeper = keeper
        for topic, group in (groups or {}).items():
            log = self._topic(topic)
            log.committed[group] = {} if keeper is None else log.resume(keeper.positions)
        if keeper is not None:
            self._topic(kept_topic).append(keeper.records)

    @property
    def identity(self) -> str:
        """A constant: no other process can write into this log."""
        return "memory"

    def _topic(self, name: str) -> _Topic:
        return self._topics.setdefault(name, _Topic(name, self._partition_count))

    async def ready(self) -> None:
        """Return at once: topics are created when they are first used."""

    def partition_for(self, topic: str, key: bytes) -> int:
        """Return the partition of a key, by CRC-32."""
        return zlib.crc32(key) % self._partition_count

    def log_name(self, topic: str) -> str:
        """Return the name of a topic with its number of partitions."""
        return log_name(topic, self._partition_count)

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append; waits while the topic is full of records that a group has yet to commit."""
        log = self._topic(topic)
        appended = 0
        while appended < len(records):
            if log.records >= self._max_records:
                await self._make_room(log)
            while log.size_bytes > UNREAD_BYTES and not log.committed:
                log.drop_oldest()
            # Checked after the wait for room, during which the bus may have closed. The consumer
            # publishes into topics without a group while it drains, so these stay open.
            if self.closed and log.committed:
                raise BusError("the bus is closed")
            # Without a group the oldest one leaves for each; with one there is room for some.
            room = self._max_records - log.records if log.committed else 1
            count = min(room, APPEND_RECORDS - appended % APPEND_RECORDS)
            log.append(records[appended : appended + count])
            appended += count
            if appended % APPEND_RECORDS == 0:
                await asyncio.sleep(0)
        if self.keeper is not None:
            self.keeper.keep(topic, records)
        await self._changed.wake_all()

    async def _make_room(self, log: _Topic) -> None:
        if not log.committed:
            log.drop_oldest()
            return
        # The count makes an idle subscription yield an empty batch, upon which the consumer
        # commits and so makes room.
        log.blocked_publishers += 1
        try:
            await self._changed.wake_all()
            async with self._changed:
                await self._changed.wait_for(lambda: log.records < self._max_records)
        finally:
            log.blocked_publishers -= 1

    async def tail(self, topic: str) -> Sequence[Record]:
        """Return the newest record of each partition that has one."""
        newest = [p.before(p.end) for p in self._topic(topic).partitions]
        return [record for record in newest if record is not None]

    async def ends(self, topic: str, partitions: Sequence[int]) -> Offsets:
        """Return the end of each partition."""
        return {number: self._topic(topic).partitions[number].end for number in partitions}

    async def read_all(
        self, topic: str, partitions: Sequence[int]
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield the retained records of `partitions`."""
        for number in partitions:
            partition = self._topic(topic).partitions[number]
            if partition.records:
                yield list(partition.records)

    async def follow(
        self, topic: str, reader: str, beginning: Beginning = FROM_START
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield the retained records of a topic and all that follow, until the bus closes."""
        log = self._topic(topic)
        position = [beginning.offset(n, p.start, p.end) for n, p in enumerate(log.partitions)]
        while not self.closed:
            batch: list[Record] = []
            for number, partition in enumerate(log.partitions):
                batch += partition.read(position[number], partition.end)
                position[number] = partition.end
            if batch:
                yield batch
            elif not await self._changed.wait_within(
                lambda: self.closed or log.ends != position, QUIET_S
            ):
                yield []

    def subscribe(self, topic: str, group: str, listener: RebalanceListener) -> MemorySubscription:
        """Join `group` in the place of its former member; it is assigned every partition."""
        log = self._topic(topic)
        log.committed.setdefault(group, {})
        log.members[group] = MemorySubscription(self, log, group, listener, self._changed)
        return log.members[group]

    async def close(self) -> None:
        """End subscriptions after what was published; then `publish` to their topics raises."""
        self.closed = True
        await self._changed.wake_all()

    async def stop(self) -> None:
        """Close the bus; there is no connection to close."""
        await self.close()


class MemorySubscription:
    """The subscription of a group's only member on the in-process bus."""

    def __init__(
        self,
        bus: MemoryBus,
        log: _Topic,
        group: str,
        listener: RebalanceListener,
        changed: _Signal,
    ) -> None:
        self._bus = bus
        self._log = log
        self._group = group
        self._committed = log.committed[group]
        self._position = [self._committed.get(n, p.start) for n, p in enumerate(log.partitions)]
        self._listener = listener
        self._changed = changed

    async def batches(self) -> AsyncIterator[Sequence[Record]]:
        """Yield batches until the bus is closed and everything published has been delivered."""
        ends = self._log.ends
        await self._listener.assigned(
            {
                number: Position(at, ends[number], fresh=number not in self._committed)
                for number, at in enumerate(self._position)
            }
        )
        while True:
            batch = self._next_batch()
            if batch:
                yield batch
            elif self._bus.closed:
                # Upon the empty batch the consumer commits what it processed since the last one.
                yield []
                return
            elif self._log.blocked_publishers or not await self._changed.wait_within(
                self._readable, QUIET_S
            ):
                yield []

    def _next_batch(self) -> list[Record]:
        batch: list[Record] = []
        for number, partition in enumerate(self._log.partitions):
            records = partition.read(self._position[number], BATCH_RECORDS - len(batch))
            self._position[number] += len(records)
            batch += records
        return batch

    def _readable(self) -> bool:
        log = self._log
        return self._bus.closed or log.blocked_publishers > 0 or log.ends != self._position

    async def commit(self, offsets: Offsets) -> bool:
        """Drop what was processed, so that blocked publishers may go on."""
        # A former member would take records away that its successor has yet to read.
        if self._log.members[self._group] is not self:
            return False
        if self._bus.keeper is not None:
            self._bus.keeper.commit(self._log.kept(offsets))
        self._committed.update(offsets)
        self._log.trim()
        await self._changed.wake_all()
        return True
