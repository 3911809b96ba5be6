"""The in-process bus: a bounded log with partitions, offsets and back-pressure.

It keeps what no group has committed yet and waits when that is full, so nothing is lost; topics
without a group keep the newest records, as a broker's retention would.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from volsvc.domain import BusError
from volsvc.transport.bus import Assignee, Offsets, OutRecord, Position, Record

# Records handed out at once: enough to spread the cost of a batch, little enough to be prompt.
BATCH_RECORDS = 500

PUBLISHED_AT_ONCE = 100
# What a topic without a group keeps: a record with a symbol's state has some 30 kB.
UNREAD_BYTES = 8 << 20

# After this long without a record an empty batch is handed out.
QUIET_S = 1.0


@dataclass(slots=True)
class _Partition:
    records: deque[Record] = field(default_factory=deque)
    end: int = 0

    @property
    def start(self) -> int:
        return self.end - len(self.records)

    def read(self, offset: int, limit: int) -> list[Record]:
        first = max(0, offset - self.start)
        return [self.records[i] for i in range(first, min(len(self.records), first + limit))]


class _Topic:
    def __init__(self, name: str, partitions: int) -> None:
        self.name = name
        self.partitions = [_Partition() for _ in range(partitions)]
        self.committed: dict[str, list[int]] = {}
        self.waiting = 0
        self.retained = 0
        self.size = 0

    def append(self, number: int, record: OutRecord) -> None:
        partition = self.partitions[number]
        partition.records.append(
            Record(
                self.name,
                number,
                partition.end,
                record.key,
                record.value,
                record.headers,
                time.time_ns() // 1_000_000,
            )
        )
        partition.end += 1
        self.retained += 1
        self.size += len(record.value or b"")

    def trim(self) -> None:
        """Let go of what every group has committed."""
        if not self.committed:
            return
        for number, partition in enumerate(self.partitions):
            oldest = min(offsets[number] for offsets in self.committed.values())
            while partition.records and partition.records[0].offset < oldest:
                self._drop(partition)

    def drop_oldest(self) -> None:
        """Let the oldest record of the longest partition go."""
        self._drop(max(self.partitions, key=lambda p: len(p.records)))

    def _drop(self, partition: _Partition) -> None:
        self.size -= len(partition.records.popleft().value or b"")
        self.retained -= 1


class MemoryBus:
    """A `Bus` inside one process, for one event loop."""

    def __init__(self, *, partitions: int = 6, queue_max_records: int = 10_000) -> None:
        self._partition_count = partitions
        self._max_records = queue_max_records
        self._topics: dict[str, _Topic] = {}
        self._changed = asyncio.Condition()
        self.closed = False

    @property
    def identity(self) -> str:
        """Nobody else can write into a log of this process."""
        return "memory"

    def _topic(self, name: str) -> _Topic:
        return self._topics.setdefault(name, _Topic(name, self._partition_count))

    async def ready(self) -> None:
        """Topics are made when they are first used."""

    def partition_for(self, topic: str, key: bytes) -> int:
        """The partition of a key, by CRC-32."""
        return zlib.crc32(key) % self._partition_count

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append; waits while the topic is full of records that a group has yet to process."""
        log = self._topic(topic)
        for count, record in enumerate(records):
            if count % PUBLISHED_AT_ONCE == PUBLISHED_AT_ONCE - 1:
                # Others have their turn.
                await asyncio.sleep(0)
            if log.retained >= self._max_records:
                await self._make_room(log)
            while log.size > UNREAD_BYTES and not log.committed:
                log.drop_oldest()
            if self.closed and log.committed:
                raise BusError("the bus is closed")
            number = record.partition
            if number is None:
                number = self.partition_for(topic, record.key)
            log.append(number, record)
        await self.notify()

    async def _make_room(self, log: _Topic) -> None:
        if not log.committed:
            log.drop_oldest()
            return
        log.waiting += 1
        try:
            await self.notify()
            async with self._changed:
                await self._changed.wait_for(lambda: log.retained < self._max_records)
        finally:
            log.waiting -= 1

    async def news(self, happened: Callable[[], bool], within_s: float) -> bool:
        """Wait until `happened`, for `within_s` seconds at the most; whether it did."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait_for(happened)
                return True
        return False

    async def notify(self) -> None:
        """Wake everybody who waits for records or for room."""
        async with self._changed:
            self._changed.notify_all()
        # A bus across a network yields at every call; without this a full-speed replay would not.
        await asyncio.sleep(0)

    async def tail(self, topic: str) -> Sequence[Record]:
        """The newest record of each partition that has one."""
        return [p.records[-1] for p in self._topic(topic).partitions if p.records]

    async def read_all(
        self, topic: str, partitions: Sequence[int]
    ) -> AsyncIterator[Sequence[Record]]:
        """All that is retained of `partitions`."""
        for number in partitions:
            partition = self._topic(topic).partitions[number]
            if partition.records:
                yield list(partition.records)

    async def follow(self, topic: str) -> AsyncIterator[Sequence[Record]]:
        """All that is retained of a topic, and all that comes."""
        log = self._topic(topic)
        position = [0] * len(log.partitions)
        while not self.closed:
            batch: list[Record] = []
            for number, partition in enumerate(log.partitions):
                batch += partition.read(position[number], partition.end)
                position[number] = partition.end
            if batch:
                yield batch
            elif not await self.news(lambda: self.closed or _ends(log) != position, QUIET_S):
                yield []

    def subscribe(self, topic: str, group: str, assignee: Assignee) -> MemorySubscription:
        """Join `group`, whose only member owns every partition."""
        log = self._topic(topic)
        log.committed.setdefault(group, [p.start for p in log.partitions])
        return MemorySubscription(self, log, group, assignee)

    async def close(self) -> None:
        """No more will be published; subscriptions end after what was."""
        self.closed = True
        await self.notify()

    async def stop(self) -> None:
        """Nothing to let go of."""
        await self.close()


class MemorySubscription:
    """The one member of a group on the in-process bus."""

    def __init__(self, bus: MemoryBus, log: _Topic, group: str, assignee: Assignee) -> None:
        self._bus = bus
        self._log = log
        self._committed = log.committed[group]
        self._position = list(self._committed)
        self._assignee = assignee

    async def batches(self) -> AsyncIterator[Sequence[Record]]:
        """Batches until the bus is closed and all of it has been delivered."""
        ends = _ends(self._log)
        await self._assignee.assigned(
            {number: Position(at, ends[number]) for number, at in enumerate(self._position)}
        )
        while True:
            batch = self._next_batch()
            if batch:
                yield batch
            elif self._bus.closed:
                # What was processed since the last commit is flushed before the end.
                yield []
                return
            elif self._log.waiting or not await self._bus.news(self._has_news, QUIET_S):
                yield []

    def _next_batch(self) -> list[Record]:
        batch: list[Record] = []
        for number, partition in enumerate(self._log.partitions):
            records = partition.read(self._position[number], BATCH_RECORDS - len(batch))
            self._position[number] += len(records)
            batch += records
        return batch

    def _has_news(self) -> bool:
        return self._bus.closed or self._log.waiting > 0 or _ends(self._log) != self._position

    async def commit(self, offsets: Offsets) -> bool:
        """Free what was processed, so that publishers may go on."""
        for number, offset in offsets.items():
            self._committed[number] = offset
        self._log.trim()
        await self._bus.notify()
        return True


def _ends(log: _Topic) -> list[int]:
    return [partition.end for partition in log.partitions]
