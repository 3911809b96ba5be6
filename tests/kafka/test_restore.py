"""Tests of restores: many symbols, lost ticks, control records, a recreated topic."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.daemon import RunningDaemon, eventually, launch, running
from tests.kafka.broker import Broker
from tests.kafka.filling import NullBusEvents, fill, settings_of, warm_record
from tests.kafka.fleet import environment
from tests.kafka.log import create_topic, delete_records, delete_topic, write
from volsvc.transport.kafka.log_reader import KafkaLogReader

INSTANCE = ("--source", "none", "--roles", "consumer,api")
MANY = 10_000
GOOD = {"symbol": "BTC-USD", "price": 70_000.0}


def ticks(seconds: Iterable[int]) -> list[tuple[bytes | None, bytes | None]]:
    """Return ticks of BTC-USD, one a second."""
    return [
        (b"BTC-USD", json.dumps({**GOOD, "time": 1_767_571_200 + at, "trade_id": at + 1}).encode())
        for at in seconds
    ]


@pytest.mark.long
async def test_ten_thousand_symbols(broker: Broker, recording: Path, tmp_path: Path) -> None:
    """A new instance restores 10,000 symbols and answers for them; scaling.py times it."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    warm = await warm_record(servers, recording, tmp_path)
    await fill(settings_of(servers, name), warm, MANY)
    async with running(*INSTANCE, env=environment(servers, name), cwd=tmp_path) as daemon:

        async def restored() -> bool:
            # In the log, because the metrics of so many symbols are expensive to scrape.
            return f'"symbols": {MANY}' in daemon.log

        await eventually(restored, 60, "every state is restored", 0.1)
        assert len((await daemon.get("/latest"))["symbols"]) == MANY
        assert await daemon.status("/health/ready") == 200
        assert await daemon.metric("volsvc_ticks_rejected_total") == 0


async def process_ten_ticks(servers: str, name: str, env: Mapping[str, str], cwd: Path) -> None:
    """Run an instance until it has processed ten ticks."""
    async with running(*INSTANCE, env=env, cwd=cwd) as daemon:
        await reached(daemon)
        await write(servers, f"{name}.raw", ticks(range(10)))
        await served(daemon, 9)
        assert await daemon.stop() == 0


async def test_retention_deleted_ticks(broker: Broker, tmp_path: Path) -> None:
    """A commit below the log's start resumes at the start, and the loss counts as a gap."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    env = environment(servers, name, VOLSVC_KAFKA__PARTITIONS="1")
    await process_ten_ticks(servers, name, env, tmp_path)
    await write(servers, f"{name}.raw", ticks(range(10, 40)))
    await delete_records(servers, f"{name}.raw", {0: 30})
    async with running(*INSTANCE, env=env, cwd=tmp_path) as daemon:
        await served(daemon, 39)
        assert await daemon.metric("volsvc_kafka_lost_records_total") == 20
        assert (await daemon.get("/latest/BTC-USD"))["quality"]["gaps"] >= 1
        assert "ticks_lost" in daemon.log
        assert await daemon.stop() == 0


async def test_transactions_leave_control_records(broker: Broker, tmp_path: Path) -> None:
    """Transaction markers and aborted ticks block nothing and are not counted."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    env = environment(servers, name, VOLSVC_KAFKA__PARTITIONS="1")
    async with running(*INSTANCE, env=env, cwd=tmp_path) as daemon:
        await reached(daemon)
        for topic in (f"{name}.raw", f"{name}.features"):
            await transactions(servers, topic)
        await served(daemon, 4)
        assert await daemon.metric("volsvc_ticks_total") == 5
        await no_lag(daemon)
        assert await daemon.stop() == 0
    for topic in (f"{name}.raw", f"{name}.features"):
        await transactions(servers, topic)
    reader = KafkaLogReader(settings_of(servers, name), NullBusEvents())
    async with asyncio.timeout(60):
        (newest,) = await reader.tail(f"{name}.raw", 1)
    assert json.loads(newest.value or b"")["trade_id"] == 5
    async with running(*INSTANCE, env=env, cwd=tmp_path) as daemon:
        await no_lag(daemon)
        assert (await daemon.get("/latest/BTC-USD"))["as_of"] == "2026-01-05T00:00:04.000Z"
        assert await daemon.metric("volsvc_kafka_lost_records_total") == 0
        assert await daemon.stop() == 0


async def transactions(servers: str, topic: str) -> None:
    """Write five committed ticks and an aborted transaction, so that the log ends in markers."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=f"outside-{topic}")
    await producer.start()
    try:
        async with producer.transaction():
            for key, value in ticks(range(5)):
                await producer.send_and_wait(topic, value, key=key)
        await producer.begin_transaction()
        for key, value in ticks(range(100, 103)):
            await producer.send_and_wait(topic, value, key=key)
        await producer.abort_transaction()
    finally:
        await producer.stop()


async def test_recreated_ticks_topic(broker: Broker, tmp_path: Path) -> None:
    """States of a deleted log of ticks are refused with a reason."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    env = environment(servers, name, VOLSVC_KAFKA__PARTITIONS="1")
    await process_ten_ticks(servers, name, env, tmp_path)
    await delete_topic(servers, f"{name}.raw")
    await create_topic(servers, f"{name}.raw", 1)
    process = await launch("run", "--port", "0", *INSTANCE, env=env, cwd=tmp_path)
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode == 1
    assert f"delete {name}.features too" in err.decode()


async def reached(daemon: RunningDaemon) -> None:
    async def up() -> bool:
        return await daemon.metric("volsvc_kafka_connected") == 1

    await eventually(up, 30, "the broker is reached")


async def served(daemon: RunningDaemon, second: int) -> None:
    at = f"2026-01-05T00:00:{second:02}.000Z"

    async def done() -> bool:
        return bool((await daemon.get("/latest/BTC-USD")).get("as_of") == at)

    await eventually(done, 20, f"the tick of {at}")


async def no_lag(daemon: RunningDaemon) -> None:
    async def none_left() -> bool:
        text = await daemon.text("/metrics")
        names = (f"volsvc_kafka_consumer_lag_{unit}{{" for unit in ("records", "seconds"))
        known = all(name in text for name in names)
        return known and await daemon.metric("volsvc_kafka_consumer_lag_records") == 0

    await eventually(none_left, 20, "the end of the log")
