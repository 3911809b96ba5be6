"""Tests of topics that change under the service: more partitions, deleted, another name."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.bus_contract import records, take
from tests.daemon import RunningDaemon, eventually, launch, running
from tests.kafka.broker import Broker
from tests.kafka.filling import NullBusEvents, settings_of
from tests.kafka.fleet import environment
from tests.kafka.log import add_partitions, delete_topic, read_topic, write
from tests.kafka.test_restore import GOOD, INSTANCE, process_ten_ticks, reached, served, ticks
from tests.waiting import PATIENCE
from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusError, BusUnavailableError
from volsvc.transport.kafka.bus import KafkaBus


async def ended(daemon: RunningDaemon, within_s: float) -> str:
    """Return the log of a daemon that ends by itself with exit code 1."""
    async with asyncio.timeout(PATIENCE * within_s):
        assert await daemon.process.wait() == 1
    await daemon.stop()
    return daemon.log


async def refused(env: dict[str, str], folder: Path) -> str:
    """Return the error with which a daemon does not start."""
    process = await launch("run", "--port", "0", *INSTANCE, env=env, cwd=folder)
    async with asyncio.timeout(PATIENCE * 30):
        _, err = await process.communicate()
    assert process.returncode == 1
    return err.decode()


@pytest.mark.long
@pytest.mark.parametrize("killed", [False, True])
async def test_added_partitions_end_the_service_with_the_remedy(
    killed: bool, broker: Broker, tmp_path: Path
) -> None:
    """No tick is lost in a partition that nobody reads; a restart says the same."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    env = environment(servers, name, VOLSVC_KAFKA__PARTITIONS="3")
    if killed:
        # A member that comes back within its session is not told that it leads its group, and then
        # its client does not look at the partitions.
        env["VOLSVC_KAFKA__SESSION_TIMEOUT_MS"] = "60000"
        async with running(*INSTANCE, env=env, cwd=tmp_path) as daemon:
            await write(servers, f"{name}.raw", ticks(range(10)))
            await served(daemon, 9)
    async with running(*INSTANCE, env=env, cwd=tmp_path) as daemon:
        await reached(daemon)
        await write(servers, f"{name}.raw", ticks(range(10)))
        await served(daemon, 9)
        await add_partitions(servers, f"{name}.raw", 6)
        text = await ended(daemon, 45)
    assert f"{name}.raw had 3 partitions and has 6 now" in text
    assert "Set kafka.topic to a new topic" in text
    assert f"has 6 partitions but {name}.features has 3" in await refused(env, tmp_path)


async def publishes(bus: KafkaBus, settings: KafkaSettings) -> None:
    while True:
        await bus.publish(settings.topic, records(1))


async def follows(bus: KafkaBus, settings: KafkaSettings) -> None:
    async for _ in bus.follow(settings.features_topic, "replica"):
        pass


async def consumes(bus: KafkaBus, settings: KafkaSettings) -> None:
    await take(bus, settings.topic, 1_000_000, commit=False)


@pytest.mark.parametrize("uses", [publishes, follows, consumes])
async def test_each_client_notices_added_partitions(
    uses: Callable[[KafkaBus, KafkaSettings], Awaitable[None]],
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a failure, and although both topics fit each other, the use of a topic ends."""
    monkeypatch.setattr("volsvc.transport.kafka.client.METADATA_MAX_AGE_MS", 300)
    settings = settings_of(broker.bootstrap_servers, uuid.uuid4().hex[:8])
    bus = KafkaBus(settings, NullBusEvents(), "here")
    await bus.ready()

    async def until_refused() -> None:
        while True:
            try:
                await uses(bus, settings)
            except BusUnavailableError:
                continue

    using = asyncio.create_task(until_refused())
    for topic in (settings.features_topic, settings.topic):
        await add_partitions(broker.bootstrap_servers, topic, settings.partitions + 1)
    async with asyncio.timeout(PATIENCE * 30):
        with pytest.raises(BusError, match="had 6 partitions and has 7 now"):
            await using
    await bus.stop()


async def test_states_of_fewer_partitions_are_refused(broker: Broker, tmp_path: Path) -> None:
    """A service that starts when both topics have been enlarged does not take the states over."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    env = environment(servers, name, VOLSVC_KAFKA__PARTITIONS="1")
    await process_ten_ticks(servers, name, env, tmp_path)
    for topic in (f"{name}.raw", f"{name}.features"):
        await add_partitions(servers, topic, 2)
    assert f"states of {name}.raw/1, which is {name}.raw/2 now" in await refused(env, tmp_path)


@pytest.mark.long
async def test_a_deleted_features_topic_gets_every_state_again(
    broker: Broker, tmp_path: Path
) -> None:
    """It is created again, health is ok again, and a restart has the idle symbols too."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    env = environment(servers, name, VOLSVC_KAFKA__PARTITIONS="1")
    idle = json.dumps({**GOOD, "symbol": "ETH-USD", "time": "2026-01-05T00:00:00Z"}).encode()
    async with running(*INSTANCE, env=env, cwd=tmp_path) as daemon:
        await reached(daemon)
        await write(servers, f"{name}.raw", [(b"ETH-USD", idle), *ticks(range(10))])
        await served(daemon, 9)
        await delete_topic(servers, f"{name}.features")
        await write(servers, f"{name}.raw", ticks(range(10, 20)))
        await served(daemon, 19)

        async def healthy() -> bool:
            states = await daemon.metric("volsvc_state_rewrites_total")
            return states == 2 and (await daemon.get("/health"))["status"] == "ok"

        await eventually(healthy, 40, "the states are published again")
        assert await daemon.stop() == 0
    assert '"states_lost"' in daemon.log
    found = await read_topic(servers, f"{name}.features", 1)
    assert {record.key for record in found} == {b"BTC-USD", b"ETH-USD"}
    async with running(*INSTANCE, env=env, cwd=tmp_path) as daemon:
        await served(daemon, 19)
        assert (await daemon.get("/latest/ETH-USD"))["as_of"] == "2026-01-05T00:00:00.000Z"
        assert await daemon.stop() == 0


@pytest.mark.long
@pytest.mark.parametrize("topic", ["raw", "features"])
async def test_a_deleted_topic_that_stays_deleted_ends_the_service(
    topic: str, broker: Broker, recording: Path, tmp_path: Path
) -> None:
    """The reason names the topic and the remedy: ticks are never, features not always created."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    env = environment(servers, name)
    if topic == "features":
        async with running(*INSTANCE, env=env, cwd=tmp_path) as daemon:
            await reached(daemon)
            assert await daemon.stop() == 0
        env["VOLSVC_KAFKA__CREATE_TOPICS"] = "false"
    async with running("--path", str(recording), "--speed", "5", env=env, cwd=tmp_path) as daemon:

        async def under_way() -> bool:
            return await daemon.metric("volsvc_ticks_total") > 0

        await eventually(under_way, 30, "ticks are processed")
        await delete_topic(servers, f"{name}.{topic}")
        text = await ended(daemon, 40)
    if topic == "raw":
        assert f"{name}.raw was deleted while it was in use" in text
        assert f"delete {name}.features too" in text
    else:
        assert f"kafka.create_topics is false: {name}.features" in text


async def test_another_topic_of_ticks_has_states_of_its_own(broker: Broker, tmp_path: Path) -> None:
    """With nothing but the topic changed, every tick of it counts, in topics of its own."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    env = {
        "VOLSVC_BUS__TRANSPORT": "kafka",
        "VOLSVC_KAFKA__PARTITIONS": "1",
        "KAFKA_BOOTSTRAP_SERVERS": servers,
    }
    for stem in (f"{name}-a", f"{name}-b"):
        own = {**env, "KAFKA_TOPIC": f"{stem}.raw"}
        async with running(*INSTANCE, env=own, cwd=tmp_path) as daemon:
            await reached(daemon)
            await write(servers, f"{stem}.raw", ticks(range(10)))
            await served(daemon, 9)
            assert await daemon.metric("volsvc_ticks_total") == 10
            assert await daemon.stop() == 0
        states = await read_topic(servers, f"{stem}.features", 1)
        assert {record.headers["volsvc-ticks"] for record in states} == {f"{stem}.raw/1".encode()}


async def test_states_of_another_topic_are_not_adopted(broker: Broker, tmp_path: Path) -> None:
    """In a features topic that two topics of ticks share, no tick of either is skipped."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    env = environment(servers, name, VOLSVC_KAFKA__PARTITIONS="1")
    await process_ten_ticks(servers, name, env, tmp_path)
    other = {**env, "KAFKA_TOPIC": f"{name}.other"}
    async with running(*INSTANCE, env=other, cwd=tmp_path) as daemon:
        await reached(daemon)
        assert await daemon.status("/latest/BTC-USD") == 404
        await write(servers, f"{name}.other", ticks(range(5)))
        await served(daemon, 4)
        assert await daemon.metric("volsvc_ticks_total") == 5
        assert await daemon.stop() == 0
    assert '"states_not_restored"' in daemon.log
