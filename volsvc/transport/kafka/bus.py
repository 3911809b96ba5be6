"""The bus on Apache Kafka or Redpanda, through aiokafka."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusError, BusUnavailableError
from volsvc.transport.bus import Assignee, BusEvents, OutRecord, Record
from volsvc.transport.kafka.client import TROUBLE, client_options, ensure_topics, let_go, retrying
from volsvc.transport.kafka.reader import KafkaReader
from volsvc.transport.kafka.subscription import GroupMember, KafkaSubscription

MAX_BATCH_BYTES = 512 * 1024
# Without an acknowledgement for this long, the broker counts as away.
STALL_S = 3.0
# Then the producer is thrown away: only the log's end can tell what has arrived.
GIVE_UP_S = 60.0


class KafkaBus:
    """A `Bus` whose log is a Kafka cluster."""

    def __init__(self, settings: KafkaSettings, events: BusEvents, instance: str) -> None:
        """`instance` names this process in its group; no other that runs has the same name."""
        self._instance = instance
        self._identity = f"{instance}#{secrets.token_hex(4)}"
        self._settings = settings
        self._events = events
        self._producers: dict[str, AIOKafkaProducer] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._partitions: dict[str, int] = {}
        self._setup = asyncio.Lock()
        self._closing = asyncio.Event()

    @property
    def identity(self) -> str:
        """The instance, and which start of it."""
        return self._identity

    # --- publishing -----------------------------------------------------------------------

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append `records`, each topic through an idempotent producer of its own."""
        async with self._locks.setdefault(topic, asyncio.Lock()):
            producer = await self._producer(topic)
            try:
                await self._send(producer, topic, records)
            except TROUBLE as error:
                self._producers.pop(topic, None)
                await _abandon(producer)
                self._events.connected("producer", False, str(error) or type(error).__name__)
                raise BusUnavailableError(f"publishing to {topic} failed: {error!r}") from error

    async def _producer(self, topic: str) -> AIOKafkaProducer:
        await self.ready()
        known = self._producers.get(topic)
        if known is None:
            known = await retrying("producer", self._new_producer, self._settings, self._events)
            self._producers[topic] = known
        return known

    async def _new_producer(self) -> AIOKafkaProducer:
        compression = self._settings.compression
        producer = AIOKafkaProducer(
            **client_options(self._settings),
            acks="all",
            enable_idempotence=True,
            compression_type=None if compression == "none" else compression,
            max_batch_size=MAX_BATCH_BYTES,
            linger_ms=0,
        )
        try:
            async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
                await producer.start()
        except BaseException:
            await _abandon(producer)
            raise
        return producer

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, records: Sequence[OutRecord]
    ) -> None:
        await self._delivered(
            [
                await producer.send_batch(batch, topic, partition=partition)
                for partition, batch in self._batches(producer, topic, records)
            ]
        )

    def _batches(
        self, producer: AIOKafkaProducer, topic: str, records: Sequence[OutRecord]
    ) -> Iterable[tuple[int, BatchBuilder]]:
        by_partition: dict[int, list[OutRecord]] = {}
        for record in records:
            partition = record.partition
            if partition is None:
                partition = self.partition_for(topic, record.key)
            by_partition.setdefault(partition, []).append(record)
        for partition, group in by_partition.items():
            batch = producer.create_batch()
            for record in group:
                if not _append(batch, record):
                    yield partition, batch
                    batch = producer.create_batch()
                    if not _append(batch, record):
                        raise BusError(
                            f"a record of {len(record.value or b'')} bytes for {topic} is larger "
                            f"than a batch may be ({MAX_BATCH_BYTES} bytes)"
                        )
            yield partition, batch

    async def _delivered(self, futures: Sequence[asyncio.Future[Any]]) -> None:
        """Wait for every acknowledgement; the client retries by itself meanwhile."""
        deadline = asyncio.get_running_loop().time() + GIVE_UP_S
        pending: set[asyncio.Future[Any]] = set(futures)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=STALL_S)
            if pending:
                self._events.connected("producer", False, f"no answer for {STALL_S:g} s")
                if asyncio.get_running_loop().time() > deadline:
                    raise TimeoutError(f"no acknowledgement within {GIVE_UP_S:g} s")
        for future in futures:
            future.result()
        self._events.connected("producer", True, "")

    # --- topics and reading ---------------------------------------------------------------

    async def ready(self) -> None:
        """Wait for the broker and for our topics on it, which are created where they may be."""
        async with self._setup:
            if not self._partitions:
                self._partitions = await retrying(
                    "topics", lambda: ensure_topics(self._settings), self._settings, self._events
                )

    def partition_for(self, topic: str, key: bytes) -> int:
        """The partition of a key, as Java's and every other client choose it (murmur2)."""
        return _murmur_partition(key, self._partitions[topic])

    async def tail(self, topic: str) -> Sequence[Record]:
        """The newest record of each partition that has one."""
        await self.ready()
        reader, partitions = KafkaReader(self._settings, self._events), self._partitions[topic]
        return await retrying(
            "reader", lambda: reader.tail(topic, partitions), self._settings, self._events
        )

    def read_all(self, topic: str, partitions: Sequence[int]) -> AsyncIterator[Sequence[Record]]:
        """All that is retained; raises BusUnavailableError when it takes too long."""
        return KafkaReader(self._settings, self._events).read_all(topic, partitions)

    async def follow(self, topic: str) -> AsyncIterator[Sequence[Record]]:
        """All that is retained and all that comes; raises BusUnavailableError when stuck."""
        await self.ready()
        reader, partitions = KafkaReader(self._settings, self._events), self._partitions[topic]
        consumer = await retrying("replica", reader.open, self._settings, self._events)
        batches = reader.follow(consumer, topic, partitions, self._closing)
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                yield batch

    def subscribe(self, topic: str, group: str, assignee: Assignee) -> KafkaSubscription:
        """Join the consumer group `group`."""
        return KafkaSubscription(
            topic,
            GroupMember(group, self._instance),
            assignee,
            settings=self._settings,
            events=self._events,
            ready=self.ready,
            closing=self._closing,
        )

    async def close(self) -> None:
        """Subscriptions end after the batch they are at; the log keeps the rest."""
        self._closing.set()

    async def stop(self) -> None:
        """Close every producer; what was acknowledged is safe, so nothing is waited for."""
        await self.close()
        producers = list(self._producers.values())
        self._producers.clear()
        await asyncio.gather(*map(_abandon, producers))


def _append(batch: BatchBuilder, record: OutRecord) -> bool:
    value = record.value if record.value is not None or record.key else b""
    added = batch.append(
        key=record.key or None, value=value, timestamp=None, headers=list(record.headers)
    )
    return added is not None


@lru_cache(maxsize=65_536)
def _murmur_partition(key: bytes, partitions: int) -> int:
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Close without flushing.

    `stop` waits for the delivery of what is queued, for ever if the broker is away, and a late
    delivery of what has been given up would double it.
    """
    producer._closed = True  # noqa: SLF001
    if producer._sender is not None:  # noqa: SLF001
        await let_go(producer._sender.close())  # noqa: SLF001
    await let_go(producer.client.close())
