"""Reading and writing topics as an outside client would."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition


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
            await producer.send_and_wait(topic, value, key=key)
    finally:
        await producer.stop()
