"""The bus on Apache Kafka or Redpanda, through aiokafka."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from functools import lru_cache

from aiokafka.partitioner import murmur2

from volsvc.config.kafka import KafkaSettings
from volsvc.transport.bus import BusEvents, OutRecord, RebalanceListener, Record
from volsvc.transport.kafka.client import ensure_topics, with_retries
from volsvc.transport.kafka.log_reader import KafkaLogReader
from volsvc.transport.kafka.publisher import KafkaPublisher
from volsvc.transport.kafka.subscription import GroupMember, KafkaSubscription


class KafkaBus:
    """A `Bus` whose log is a Kafka cluster."""

    def __init__(self, settings: KafkaSettings, events: BusEvents, instance: str) -> None:
        """`instance` is the name of this process in its group, unique among those that run."""
        self._instance = instance
        self._identity = f"{instance}#{secrets.token_hex(4)}"
        self._settings = settings
        self._events = events
        self._publisher = KafkaPublisher(settings, events, self.partition_for)
        self._partitions: dict[str, int] = {}
        self._setup = asyncio.Lock()
        self._closing = asyncio.Event()

    @property
    def identity(self) -> str:
        """The name of the instance, and after `#` a token of this start of it."""
        return self._identity

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append `records` in order, and wait until all are acknowledged."""
        await self.ready()
        await self._publisher.publish(topic, records)

    async def ready(self) -> None:
        """Wait for the broker and for our topics, and create those that are missing if allowed."""
        async with self._setup:
            if not self._partitions:
                self._partitions = await with_retries(
                    "topics", lambda: ensure_topics(self._settings), self._settings, self._events
                )

    def partition_for(self, topic: str, key: bytes) -> int:
        """Return the partition of a key as Kafka's default partitioner chooses it (murmur2)."""
        return _murmur_partition(key, self._partitions[topic])

    async def tail(self, topic: str) -> Sequence[Record]:
        """Return the newest record of each partition that has one."""
        await self.ready()
        reader, partitions = KafkaLogReader(self._settings, self._events), self._partitions[topic]
        return await with_retries(
            "reader", lambda: reader.tail(topic, partitions), self._settings, self._events
        )

    def read_all(self, topic: str, partitions: Sequence[int]) -> AsyncIterator[Sequence[Record]]:
        """Yield the retained records; raises BusUnavailableError after `restore_timeout_s`."""
        return KafkaLogReader(self._settings, self._events).read_all(topic, partitions)

    async def follow(self, topic: str) -> AsyncIterator[Sequence[Record]]:
        """Yield the retained records and all that follow; raises BusUnavailableError on a stall."""
        await self.ready()
        reader, partitions = KafkaLogReader(self._settings, self._events), self._partitions[topic]
        consumer = await with_retries("replica", reader.open, self._settings, self._events)
        batches = reader.follow(consumer, topic, partitions, self._closing)
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                yield batch

    def subscribe(self, topic: str, group: str, listener: RebalanceListener) -> KafkaSubscription:
        """Join the consumer group `group` on `topic`."""
        return KafkaSubscription(
            topic,
            GroupMember(group, self._instance),
            listener,
            settings=self._settings,
            events=self._events,
            ready=self.ready,
            closing=self._closing,
        )

    async def close(self) -> None:
        """End subscriptions after their current batch; the log keeps the rest."""
        self._closing.set()

    async def stop(self) -> None:
        """Close the bus and its connections; what was acknowledged is safe."""
        await self.close()
        await self._publisher.stop()


# Cached, because aiokafka's murmur2 is pure Python and the keys, the symbols, are few.
@lru_cache(maxsize=65_536)
def _murmur_partition(key: bytes, partitions: int) -> int:
    return int(murmur2(key) & 0x7FFFFFFF) % partitions
