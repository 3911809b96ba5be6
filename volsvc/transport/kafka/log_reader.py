"""Reads topics of a Kafka cluster without a group: the newest records, all, or all that follow.

The end of a partition is reached when the position is, not when the last record is received:
transactions leave control records and compaction leaves gaps, which no client receives.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusUnavailableError
from volsvc.transport.bus import FROM_START, Beginning, BusEvents, Record
from volsvc.transport.kafka.client import TRANSIENT_ERRORS, client_options, close_quietly
from volsvc.transport.kafka.message import to_records
from volsvc.transport.kafka.progress import StallDetector
from volsvc.transport.partitions import check_added

POLL_MS = 500
# Of a partition at once. A restart reads with two clients, whose buffers stay with the process:
# with eight times as much it took half a gigabyte more.
FETCH_BYTES = 1024 * 1024
# Factor by which the search for the newest record goes further back if it found none.
STEP_BACK = 16


class KafkaLogReader:
    """Reads topics, each call with a client of its own."""

    def __init__(self, settings: KafkaSettings, events: BusEvents, name: str = "reader") -> None:
        """`name` is that of the part that reads, for health."""
        self._settings = settings
        self._events = events
        self._name = name
        self._timeout_s = settings.request_timeout_ms / 1000

    async def open(self) -> AIOKafkaConsumer:
        """Return a connected client; raises one of TRANSIENT_ERRORS if the broker is away."""
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                await consumer.start()
        except BaseException:
            await close_quietly(consumer.stop())
            raise
        return consumer

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = await self.open()
        try:
            yield consumer
        finally:
            await close_quietly(consumer.stop())

    async def tail(self, topic: str, partitions: int) -> Sequence[Record]:
        """Return the newest record of each partition that has one."""
        newest: dict[int, Record] = {}
        async with self._consumer() as consumer:
            every = [TopicPartition(topic, p) for p in range(partitions)]
            starts, ends = await self._watermarks(consumer, every)
            left = {tp for tp in every if ends[tp] > starts[tp]}
            # The last offsets may hold control records, or nothing after a compaction; where no
            # record is found, the search goes further back.
            back = 1
            while left:
                consumer.assign(left)
                for tp in left:
                    consumer.seek(tp, max(starts[tp], ends[tp] - back))
                async with asyncio.timeout(self._timeout_s):
                    async for batch in self._until(consumer, ends, left):
                        newest |= {record.partition: record for record in batch}
                left = {
                    tp for tp in left if tp.partition not in newest and ends[tp] - back > starts[tp]
                }
                back *= STEP_BACK
        return list(newest.values())

    async def ends(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """Return the end of each partition; raises BusUnavailableError without an answer."""
        try:
            async with self._consumer() as consumer:
                _, ends = await self._watermarks(
                    consumer, [TopicPartition(topic, p) for p in partitions]
                )
        except TRANSIENT_ERRORS as error:
            raise BusUnavailableError(f"the ends of {topic} are unknown: {error!r}") from error
        return {tp.partition: end for tp, end in ends.items()}

    async def read_all(
        self, topic: str, partitions: Sequence[int]
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield the retained records; raises BusUnavailableError after `restore_timeout_s`."""
        deadline = asyncio.get_running_loop().time() + self._settings.restore_timeout_s
        try:
            async with self._consumer() as consumer:
                every = [TopicPartition(topic, p) for p in partitions]
                starts, ends = await self._watermarks(consumer, every)
                left = {tp for tp in every if ends[tp] > starts[tp]}
                consumer.assign(left)
                async for batch in self._until(consumer, ends, left):
                    yield batch
                    _check_time(deadline)
        except TRANSIENT_ERRORS as error:
            raise BusUnavailableError(f"reading {topic} failed: {error!r}") from error

    async def follow(
        self,
        consumer: AIOKafkaConsumer,
        topic: str,
        partitions: int,
        closing: asyncio.Event,
        beginning: Beginning = FROM_START,
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield the retained records and all that follow; raises BusUnavailableError on a stall.

        `consumer` comes from `open`, and is closed at the end.
        """
        stall_detector = StallDetector(self._settings.stall_timeout_s)
        every = [TopicPartition(topic, p) for p in range(partitions)]
        try:
            starts, ends = await self._watermarks(consumer, every)
            consumer.assign(every)
            for tp in every:
                first = beginning.offset(tp.partition, starts[tp], ends[tp])
                if first > starts[tp]:
                    consumer.seek(tp, first)
            left = {tp for tp in every if ends[tp] > starts[tp]}
            async for batch in self._until(consumer, ends, left):
                if batch:
                    stall_detector.progressed()
                    yield batch
                else:
                    stall_detector.stalled("the end of the topic is not reached")
            yield []
            self._events.connected(self._name, True, "")
            while not closing.is_set():
                batch = await _poll(consumer)
                # Records of a new partition would be missed without a word.
                check_added(topic, len(consumer.partitions_for_topic(topic) or ()), partitions)
                yield batch
                if batch:
                    stall_detector.progressed()
                    self._events.connected(self._name, True, "")
                else:
                    await self._check(consumer, every, stall_detector)
        except TRANSIENT_ERRORS as error:
            raise BusUnavailableError(f"following {topic} failed: {error!r}") from error
        finally:
            await close_quietly(consumer.stop())

    async def _check(
        self,
        consumer: AIOKafkaConsumer,
        partitions: Sequence[TopicPartition],
        stall_detector: StallDetector,
    ) -> None:
        """After an empty poll, ask the broker whether records wait."""
        try:
            async with asyncio.timeout(self._timeout_s):
                ends = await consumer.end_offsets(partitions)
                behind = [tp for tp in partitions if await consumer.position(tp) < ends[tp]]
        except TRANSIENT_ERRORS as error:
            self._events.connected(self._name, False, str(error) or "no answer")
            stall_detector.stalled("the broker does not answer")
            return
        self._events.connected(self._name, True, "")
        if behind:
            stall_detector.stalled("records wait, and none arrive")
        else:
            stall_detector.progressed()

    async def _until(
        self,
        consumer: AIOKafkaConsumer,
        ends: dict[TopicPartition, int],
        left: set[TopicPartition],
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield batches, some empty, until every partition in `left` is read to its end."""
        while left:
            yield await _poll(consumer)
            async with asyncio.timeout(self._timeout_s):
                left = {tp for tp in left if await consumer.position(tp) < ends[tp]}

    async def _watermarks(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Return the low and the high watermarks."""
        async with asyncio.timeout(self._timeout_s):
            return (
                await consumer.beginning_offsets(partitions),
                await consumer.end_offsets(partitions),
            )


def _check_time(deadline: float) -> None:
    if asyncio.get_running_loop().time() > deadline:
        raise TimeoutError("it takes longer than kafka.restore_timeout_s")


async def _poll(consumer: AIOKafkaConsumer) -> list[Record]:
    polled = await consumer.getmany(timeout_ms=POLL_MS)
    return to_records(polled.values())
