"""Reading topics of a Kafka cluster without a group: their ends, all of them, and what comes.

An end is reached when the position is, not when its record is: transactions leave control records,
and compaction leaves holes, which nobody ever receives.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusUnavailableError
from volsvc.transport.bus import BusEvents, Record
from volsvc.transport.kafka.client import TROUBLE, client_options, let_go
from volsvc.transport.kafka.progress import Watchdog

POLL_MS = 500
FETCH_BYTES = 8 * 1024 * 1024
# How many times further back to look for a record where there was none.
STEP_BACK = 16


def to_record(message: Any) -> Record:
    """An aiokafka message as ours."""
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.key,
        message.value,
        tuple(message.headers),
        message.timestamp,
    )


class KafkaReader:
    """Reads topics; each call has a client of its own."""

    def __init__(self, settings: KafkaSettings, events: BusEvents) -> None:
        self._settings = settings
        self._events = events
        self._answer_s = settings.request_timeout_ms / 1000

    async def open(self) -> AIOKafkaConsumer:
        """A client that is connected; raises what the client raises when the broker is away."""
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            async with asyncio.timeout(self._answer_s):
                await consumer.start()
        except BaseException:
            await let_go(consumer.stop())
            raise
        return consumer

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = await self.open()
        try:
            yield consumer
        finally:
            await let_go(consumer.stop())

    async def tail(self, topic: str, partitions: int) -> Sequence[Record]:
        """The newest record of each partition that has one."""
        newest: dict[int, Record] = {}
        async with self._consumer() as consumer:
            every = [TopicPartition(topic, p) for p in range(partitions)]
            starts, ends = await self._extents(consumer, every)
            left = {tp for tp in every if ends[tp] > starts[tp]}
            back = 1
            while left:
                consumer.assign(left)
                for tp in left:
                    consumer.seek(tp, max(starts[tp], ends[tp] - back))
                async with asyncio.timeout(self._answer_s):
                    async for batch in self._until(consumer, ends, left):
                        newest |= {record.partition: record for record in batch}
                left = {
                    tp for tp in left if tp.partition not in newest and ends[tp] - back > starts[tp]
                }
                back *= STEP_BACK
        return list(newest.values())

    async def read_all(
        self, topic: str, partitions: Sequence[int]
    ) -> AsyncIterator[Sequence[Record]]:
        """All that is retained; raises BusUnavailableError when it takes too long."""
        deadline = asyncio.get_running_loop().time() + self._settings.restore_timeout_s
        try:
            async with self._consumer() as consumer:
                every = [TopicPartition(topic, p) for p in partitions]
                starts, ends = await self._extents(consumer, every)
                left = {tp for tp in every if ends[tp] > starts[tp]}
                consumer.assign(left)
                async for batch in self._until(consumer, ends, left):
                    yield batch
                    _check_time(deadline)
        except TROUBLE as error:
            raise BusUnavailableError(f"reading {topic} failed: {error!r}") from error

    async def follow(
        self, consumer: AIOKafkaConsumer, topic: str, partitions: int, closing: asyncio.Event
    ) -> AsyncIterator[Sequence[Record]]:
        """All that is retained and all that comes; raises BusUnavailableError when stuck.

        `consumer` is one that `open` gave, and is closed at the end.
        """
        watchdog = Watchdog(self._settings.stall_timeout_s)
        every = [TopicPartition(topic, p) for p in range(partitions)]
        try:
            starts, ends = await self._extents(consumer, every)
            consumer.assign(every)
            left = {tp for tp in every if ends[tp] > starts[tp]}
            async for batch in self._until(consumer, ends, left):
                if batch:
                    watchdog.moved()
                    yield batch
                else:
                    watchdog.stood_still("the topic's end does not come")
            yield []
            while not closing.is_set():
                batch = await _poll(consumer)
                yield batch
                if batch:
                    watchdog.moved()
                    self._events.connected("replica", True, "")
                else:
                    await self._check(consumer, every, watchdog)
        except TROUBLE as error:
            raise BusUnavailableError(f"following {topic} failed: {error!r}") from error
        finally:
            await let_go(consumer.stop())

    async def _check(
        self, consumer: AIOKafkaConsumer, every: Sequence[TopicPartition], watchdog: Watchdog
    ) -> None:
        """Whether nothing came because there is nothing."""
        try:
            async with asyncio.timeout(self._answer_s):
                ends = await consumer.end_offsets(every)
                behind = [tp for tp in every if await consumer.position(tp) < ends[tp]]
        except TROUBLE as error:
            self._events.connected("replica", False, str(error) or "no answer")
            watchdog.stood_still("the broker does not answer")
            return
        self._events.connected("replica", True, "")
        if behind:
            watchdog.stood_still("records wait, and none arrive")
        else:
            watchdog.moved()

    async def _until(
        self,
        consumer: AIOKafkaConsumer,
        ends: dict[TopicPartition, int],
        left: set[TopicPartition],
    ) -> AsyncIterator[Sequence[Record]]:
        """Batches, some empty, until the position of every partition in `left` is at its end."""
        while left:
            yield await _poll(consumer)
            async with asyncio.timeout(self._answer_s):
                left = {tp for tp in left if await consumer.position(tp) < ends[tp]}

    async def _extents(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """The low and high watermarks."""
        async with asyncio.timeout(self._answer_s):
            return (
                await consumer.beginning_offsets(partitions),
                await consumer.end_offsets(partitions),
            )


def _check_time(deadline: float) -> None:
    if asyncio.get_running_loop().time() > deadline:
        raise TimeoutError("it takes longer than kafka.restore_timeout_s")


async def _poll(consumer: AIOKafkaConsumer) -> list[Record]:
    polled = await consumer.getmany(timeout_ms=POLL_MS)
    return [to_record(message) for messages in polled.values() for message in messages]
