"""Publication through idempotent producers, one for each topic."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusError, BusUnavailableError
from volsvc.transport.bus import BusEvents, OutRecord
from volsvc.transport.kafka.client import (
    TRANSIENT_ERRORS,
    client_options,
    close_quietly,
    with_retries,
)
from volsvc.transport.partitions import check_added

# Uncompressed. Brokers take batches of 1 MiB unless they are told otherwise, and a second batch of
# a partition waits for the acknowledgement of the first.
MAX_BATCH_BYTES = 960 * 1024
# Without an acknowledgement for this long, the broker counts as away.
STALL_S = 3.0
# After this long the producer is discarded; the end of the log then shows what has arrived.
GIVE_UP_S = 60.0


class KafkaPublisher:
    """Appends records to topics, and waits for their acknowledgement."""

    def __init__(self, settings: KafkaSettings, events: BusEvents) -> None:
        self._settings = settings
        self._events = events
        self._producers: dict[str, AIOKafkaProducer] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def publish(
        self, topic: str, records: Sequence[OutRecord], partitions: int
    ) -> Mapping[int, int]:
        """Append `records` in order to a topic, and wait until all are acknowledged.

        Returns the offset of the newest batch by partition, -1 where the broker did not tell it.
        Raises BusUnavailableError if it is unknown whether all have arrived, or if the topic has
        more than `partitions`.
        """
        async with self._locks.setdefault(topic, asyncio.Lock()):
            producer = await self._producer(topic)
            try:
                check_added(topic, len(await producer.partitions_for(topic)), partitions)
                return await self._send(producer, topic, records, partitions)
            except TRANSIENT_ERRORS as error:
                # This producer might still deliver what the caller finds missing and sends again,
                # so the next attempt has a new one.
                self._producers.pop(topic, None)
                await _abort(producer)
                self._events.connected("producer", False, str(error) or type(error).__name__)
                raise BusUnavailableError(f"publishing to {topic} failed: {error!r}") from error

    async def _producer(self, topic: str) -> AIOKafkaProducer:
        producer = self._producers.get(topic)
        if producer is None:
            producer = await with_retries(
                "producer", self._new_producer, self._settings, self._events
            )
            self._producers[topic] = producer
        return producer

    async def _new_producer(self) -> AIOKafkaProducer:
        compression = self._settings.compression
        producer = AIOKafkaProducer(
            **client_options(self._settings),
            acks="all",
            enable_idempotence=True,
            compression_type=None if compression == "none" else compression,
            max_batch_size=MAX_BATCH_BYTES,
            # Batches are built here, so waiting for more records would only delay them.
            linger_ms=0,
        )
        try:
            async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
                await producer.start()
        except BaseException:
            await _abort(producer)
            raise
        return producer

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, records: Sequence[OutRecord], partitions: int
    ) -> Mapping[int, int]:
        delivered = await self._wait_delivered(
            [
                await producer.send_batch(batch, topic, partition=partition)
                for partition, batch in _batches(producer, topic, records, partitions)
            ]
        )
        return {metadata.partition: metadata.offset for metadata in delivered}

    async def _wait_delivered(self, futures: Sequence[asyncio.Future[Any]]) -> Sequence[Any]:
        """Return every acknowledgement, while the client retries by itself."""
        deadline = asyncio.get_running_loop().time() + GIVE_UP_S
        pending: set[asyncio.Future[Any]] = set(futures)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=STALL_S)
            if pending:
                self._events.connected("producer", False, f"no answer for {STALL_S:g} s")
                if asyncio.get_running_loop().time() > deadline:
                    raise TimeoutError(f"no acknowledgement within {GIVE_UP_S:g} s")
        acknowledged = [future.result() for future in futures]
        self._events.connected("producer", True, "")
        return acknowledged

    async def stop(self) -> None:
        """Close every producer without waiting; what was acknowledged is safe."""
        producers = list(self._producers.values())
        self._producers.clear()
        await asyncio.gather(*map(_abort, producers))


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key as Kafka's default partitioner chooses it (murmur2)."""
    # Cached, because aiokafka's murmur2 is pure Python and the keys, the symbols, are few.
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


def _batches(
    producer: AIOKafkaProducer, topic: str, records: Sequence[OutRecord], partitions: int
) -> Iterable[tuple[int, BatchBuilder]]:
    by_partition: dict[int, list[OutRecord]] = {}
    for record in records:
        partition = record.partition
        if partition is None:
            partition = partition_of(record.key, partitions)
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


def _append(batch: BatchBuilder, record: OutRecord) -> bool:
    # The client refuses a record with neither key nor value, as a dead letter may be.
    value = record.value if record.value is not None or record.key else b""
    added = batch.append(
        key=record.key or None, value=value, timestamp=None, headers=list(record.headers)
    )
    return added is not None


async def _abort(producer: AIOKafkaProducer) -> None:
    """Close a producer without flushing it."""
    # `AIOKafkaProducer.stop` waits for the delivery of what is queued: for ever if the broker is
    # away, and a late delivery of records that were given up would append them twice.
    producer._closed = True  # noqa: SLF001
    if producer._sender is not None:  # noqa: SLF001
        await close_quietly(producer._sender.close())  # noqa: SLF001
    await close_quietly(producer.client.close())
