"""Tests of a cluster that loses a broker during a replay at full speed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.daemon import eventually, running
from tests.kafka.broker import Cluster
from tests.kafka.fleet import PARTITIONS, assert_identical, caught_up, environment, undisturbed
from tests.kafka.log import read_topic
from tests.made import features

pytestmark = pytest.mark.long


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A running cluster of three brokers."""
    three = Cluster(tmp_path)
    three.start()
    yield three
    three.kill()


async def leaders(servers: str, topic: str) -> dict[int, int]:
    """Return the leading node of each partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
        return {p["partition"]: p["leader"] for p in described["partitions"]}
    finally:
        await admin.close()


async def test_leader_dies_at_full_speed(cluster: Cluster, recording: Path, tmp_path: Path) -> None:
    """No acknowledged tick is lost or duplicated, and the digests are undisturbed."""
    digests, newest = undisturbed(recording)
    rows = features(recording, "ndjson")[0].read_bytes().count(b"\n")
    servers, name = cluster.bootstrap_servers, uuid.uuid4().hex[:8]
    env = environment(servers, name, VOLSVC_KAFKA__REPLICATION_FACTOR="3")
    async with running("--path", str(recording), "--speed", "max", env=env, cwd=tmp_path) as daemon:

        async def under_way() -> bool:
            return await daemon.metric("volsvc_ticks_published_total") > rows / 10

        await eventually(under_way, 60, "the replay is under way")
        led = list((await leaders(servers, f"{name}.raw")).values())
        busiest = max(set(led), key=led.count)
        cluster.brokers[busiest - 1].kill()
        assert await daemon.metric("volsvc_ticks_published_total") < rows, "killed too late"
        await caught_up(daemon, newest, 60)
        assert await daemon.stop() == 0
    alive = next(b for b in cluster.brokers if b.node != busiest).bootstrap_servers
    ticks = await read_topic(alive, f"{name}.raw", PARTITIONS)
    positions = {record.headers["volsvc-position"] for record in ticks}
    assert len(positions) == len(ticks) == rows
    await assert_identical(alive, name, digests, tmp_path)
