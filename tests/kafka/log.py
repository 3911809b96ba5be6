"""Reading and writing topics as an outside client would."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete


class LogRecord(NamedTuple):
    """A record as an outside client sees it."""

    partition: int
    offset: int
    key: bytes | None
    raw: bytes | None
    headers: dict[str, bytes]

    @property
    def value(self) -> Any:
        """The JSON inside."""
        return json.loads(self.raw or b"null")


async def read_topic(servers: str, topic: str, partitions: int) -> list[LogRecord]:
    """Everything in a topic, in the order of each partition."""
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
    """A group's committed offsets, by partition; 0 where there is none."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        return {
            p: await consumer.committed(TopicPartition(topic, p)) or 0 for p in range(partitions)
        }
    finally:
        await consumer.stop()


async def write(servers: str, topic: str, values: list[tuple[bytes | None, bytes | None]]) -> None:
    """Append records as somebody else's producer would."""
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        for key, value in values:
            await producer.send(topic, value, key=key)
        await producer.flush()
    finally:
        await producer.stop()


async def create_topic(
    servers: str, topic: str, partitions: int, configs: dict[str, str] | None = None
) -> None:
    """Make a topic with settings of its own, before the service would."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs or {})])
    finally:
        await admin.close()


async def delete_records(servers: str, topic: str, before: dict[int, int]) -> None:
    """Let the broker forget everything before these offsets, as its retention would."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(topic, p): RecordsToDelete(at) for p, at in before.items()}
        )
    finally:
        await admin.close()


async def write_to(servers: str, topic: str, partition: int, key: bytes, value: bytes) -> None:
    """Append a record to a partition."""
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, key=key, partition=partition)
    finally:
        await producer.stop()
