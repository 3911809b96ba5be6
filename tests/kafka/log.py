"""Functions that read and write topics as an independent client does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete

from tests.daemon import eventually


class LogRecord(NamedTuple):
    """A record as an independent client reads it."""

    partition: int
    offset: int
    key: bytes | None
    raw: bytes | None
    headers: dict[str, bytes]

    @property
    def value(self) -> Any:
        """The decoded JSON value."""
        return json.loads(self.raw or b"null")


async def read_topic(servers: str, topic: str, partitions: int) -> list[LogRecord]:
    """Return all records of a topic, each partition in its order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        every = [TopicPartition(topic, p) for p in range(partitions)]
        ends = await consumer.end_offsets(every)
        left = {tp for tp in every if ends[tp] > 0}
        consumer.assign(every)
        found: list[LogRecord] = []
        while left:
            for messages in (await consumer.getmany(timeout_ms=500)).values():
                found += [
                    LogRecord(m.partition, m.offset, m.key, m.value, dict(m.headers))
                    for m in messages
                ]
            left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
        return found
    finally:
        await consumer.stop()


async def committed(servers: str, group: str, topic: str, partitions: int) -> dict[int, int]:
    """Return a group's committed offsets by partition, 0 where there is none."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        return {
            p: await consumer.committed(TopicPartition(topic, p)) or 0 for p in range(partitions)
        }
    finally:
        await consumer.stop()


async def write(servers: str, topic: str, values: list[tuple[bytes | None, bytes | None]]) -> None:
    """Append records as a foreign producer does."""
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        for key, value in values:
            await producer.send(topic, value, key=key)
        await producer.flush()
    finally:
        await producer.stop()


@asynccontextmanager
async def administration(servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield a connected client of an operator."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def create_topic(
    servers: str, topic: str, partitions: int, configs: dict[str, str] | None = None
) -> None:
    """Create a topic with given settings, before the service does."""
    async with administration(servers) as admin:
        await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs or {})])


async def delete_topic(servers: str, topic: str) -> None:
    """Delete a topic, and wait until the broker no longer has it."""
    async with administration(servers) as admin:
        await admin.delete_topics([topic])

        async def gone() -> bool:
            return topic not in await admin.list_topics()

        await eventually(gone, 10, f"{topic} is deleted")


async def add_partitions(servers: str, topic: str, partitions: int) -> None:
    """Enlarge a topic to a number of partitions."""
    async with administration(servers) as admin:
        await admin.create_partitions({topic: NewPartitions(partitions)})


async def delete_records(servers: str, topic: str, before: dict[int, int]) -> None:
    """Delete the records before these offsets, as retention does."""
    async with administration(servers) as admin:
        await admin.delete_records(
            {TopicPartition(topic, p): RecordsToDelete(at) for p, at in before.items()}
        )


async def write_to(servers: str, topic: str, partition: int, key: bytes, value: bytes) -> None:
    """Append a record to a partition."""
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, key=key, partition=partition)
    finally:
        await producer.stop()
