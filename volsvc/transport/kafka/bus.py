"""The bus on Apache Kafka or Redpanda, through aiokafka."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusUnavailableError
from volsvc.transport.bus import (
    FROM_START,
    Beginning,
    BusEvents,
    OutRecord,
    RebalanceListener,
    Record,
)
from volsvc.transport.kafka.client import with_retries
from volsvc.transport.kafka.log_reader import KafkaLogReader
from volsvc.transport.kafka.publisher import KafkaPublisher, partition_of
from volsvc.transport.kafka.subscription import GroupMember, KafkaSubscription
from volsvc.transport.kafka.topics import ensure_topics
from volsvc.transport.partitions import log_name


class KafkaBus:
    """A `Bus` whose log is a Kafka cluster."""

    def __init__(self, settings: KafkaSettings, events: BusEvents, instance: str) -> None:
        """`instance` is the name of this process in its group, unique among those that run."""
        self._instance = instance
        self._identity = f"{instance}#{secrets.token_hex(4)}"
        self._settings = settings
        self._events = events
        self._publisher = KafkaPublisher(settings, events)
        # By topic: its number of partitions, which is looked up again after a failure.
        self._partitions: dict[str, int] = {}
        self._doubtful = True
        self._setup = asyncio.Lock()
        self._listener: RebalanceListener | None = None
        # By topic and partition: the offset of the newest record that was published here.
        self._published: dict[tuple[str, int], int] = {}
        self._closing = asyncio.Event()

    @property
    def identity(self) -> str:
        """The name of the instance, and after `#` a token of this start of it."""
        return self._identity

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append `records` in order, and wait until all are acknowledged."""
        await self.ready()
        try:
            offsets = await self._publisher.publish(topic, records, self._partitions[topic])
        except BusUnavailableError:
            self._doubtful = True
            raise
        self._check_offsets(topic, offsets)

    def _check_offsets(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Notice that a topic was deleted and created again, whoever did so."""
        newest = {(topic, p): offset for p, offset in offsets.items() if offset >= 0}
        recreated = any(offset <= self._published.get(at, -1) for at, offset in newest.items())
        self._published |= newest
        if recreated and self._listener is not None:
            self._listener.topic_recreated(topic)

    async def ready(self) -> None:
        """Wait for the broker and for our topics, and create those that are missing if allowed."""
        async with self._setup:
            if self._doubtful:
                await self._look_up()

    async def _ready_anew(self) -> Mapping[str, int]:
        """Wait for our topics as they are now, and return the number of partitions of each."""
        async with self._setup:
            await self._look_up()
            return self._partitions

    async def _look_up(self) -> None:
        self._partitions = await with_retries(
            "topics",
            lambda: ensure_topics(self._settings, self._partitions),
            self._settings,
            self._events,
        )
        self._doubtful = False
        self._events.connected("topics", True, "")

    def partition_for(self, topic: str, key: bytes) -> int:
        """Return the partition of a key as Kafka's default partitioner chooses it (murmur2)."""
        return partition_of(key, self._partitions[topic])

    def log_name(self, topic: str) -> str:
        """Return the name of a topic with its number of partitions."""
        return log_name(topic, self._partitions[topic])

    async def tail(self, topic: str) -> Sequence[Record]:
        """Return the newest record of each partition that has one."""
        await self.ready()
        reader, partitions = KafkaLogReader(self._settings, self._events), self._partitions[topic]
        newest = await with_retries(
            "reader", lambda: reader.tail(topic, partitions), self._settings, self._events
        )
        self._events.connected("reader", True, "")
        return newest

    async def ends(self, topic: str, partitions: Sequence[int]) -> Mapping[int, int]:
        """Return the end of each partition; raises BusUnavailableError without an answer."""
        return await KafkaLogReader(self._settings, self._events).ends(topic, partitions)

    def read_all(self, topic: str, partitions: Sequence[int]) -> AsyncIterator[Sequence[Record]]:
        """Yield the retained records; raises BusUnavailableError after `restore_timeout_s`."""
        return KafkaLogReader(self._settings, self._events).read_all(topic, partitions)

    async def follow(
        self, topic: str, reader: str, beginning: Beginning = FROM_START
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield the retained records and all that follow; raises BusUnavailableError on a stall."""
        await self._ready_anew()
        log = KafkaLogReader(self._settings, self._events, reader)
        consumer = await with_retries(reader, log.open, self._settings, self._events)
        batches = log.follow(consumer, topic, self._partitions[topic], self._closing, beginning)
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                yield batch

    def subscribe(self, topic: str, group: str, listener: RebalanceListener) -> KafkaSubscription:
        """Join the consumer group `group` on `topic`."""
        self._listener = listener
        return KafkaSubscription(
            topic,
            GroupMember(group, self._instance),
            listener,
            settings=self._settings,
            events=self._events,
            ready=self._ready_anew,
            closing=self._closing,
        )

    async def close(self) -> None:
        """End subscriptions after their current batch; the log keeps the rest."""
        self._closing.set()

    async def stop(self) -> None:
        """Close the bus and its connections; what was acknowledged is safe."""
        await self.close()
        await self._publisher.stop()
