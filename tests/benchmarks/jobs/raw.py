"""The ceiling on a broker: aiokafka consumes and produces in batches without computing."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from tests.benchmarks.jobs.clock import Stopwatch
from volsvc.config.kafka import KafkaSettings

MOST = 500
WAIT_MS = 1_000


async def copy(servers: str, topic: str, out: str, count: int) -> None:
    """Copy every record of a topic to another one, unchanged."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=servers, group_id=out, auto_offset_reset="earliest"
    )
    compression = KafkaSettings().compression
    producer = AIOKafkaProducer(bootstrap_servers=servers, compression_type=compression)
    await consumer.start()
    await producer.start()
    watch, copied = Stopwatch(), 0
    while copied < count:
        polled = await consumer.getmany(timeout_ms=WAIT_MS, max_records=MOST)
        if polled and not watch.running:
            watch.start()
        sent = []
        for place, records in polled.items():
            batch: BatchBuilder = producer.create_batch()
            for record in records:
                while batch.append(key=record.key, value=record.value, timestamp=None) is None:
                    sent.append(await producer.send_batch(batch, out, partition=place.partition))
                    batch = producer.create_batch()
            sent.append(await producer.send_batch(batch, out, partition=place.partition))
            copied += len(records)
        await asyncio.gather(*sent)
    await producer.flush()
    watch.print_result(copied)
    await consumer.stop()
    await producer.stop()


if __name__ == "__main__":
    servers, topic, out, count = sys.argv[1:]
    uvloop.run(copy(servers, topic, out, int(count)))
