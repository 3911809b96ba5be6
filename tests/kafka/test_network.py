"""Tests of network faults: resets, latency, black holes, a broker that is away."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon, eventually, running
from tests.kafka.broker import Broker, free_port
from tests.kafka.fleet import assert_identical, caught_up, environment, undisturbed
from tests.kafka.proxy import Proxy, proxy_to

# Ten seconds are usual; a machine with busy processors needs longer for the same work.
RECOVERY_S = 30.0
# Bytes; less than an unbounded queue would hold of the replay during the outages.
MOST_GROWTH = 60_000_000
# The recording then takes 75 seconds: ticks are left when the last fault is over.
SPEED = "8"
SYMBOL = "/latest/BTC-USD"


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    """A broker that is reached through a proxy only."""
    port = free_port()
    broker = Broker(tmp_path / "broker", advertised=port)
    await asyncio.to_thread(broker.start)
    async with proxy_to(port, broker.port) as between:
        yield between
    await asyncio.to_thread(broker.kill)


async def progresses(daemon: RunningDaemon) -> None:
    """Wait until the broker is reached and more ticks are processed."""
    before = await daemon.metric("volsvc_ticks_total")

    async def done() -> bool:
        up = await daemon.metric("volsvc_kafka_connected") == 1
        return up and await daemon.metric("volsvc_ticks_total") > before

    await eventually(done, RECOVERY_S, "the service makes progress")


async def answers_while_degraded(daemon: RunningDaemon, for_s: float) -> None:
    """Assert that the service answers while /health is degraded and the age rises."""

    async def degraded() -> bool:
        return bool((await daemon.get("/health"))["status"] == "degraded")

    await eventually(degraded, RECOVERY_S, "the loss is visible in /health")
    until = time.monotonic() + for_s
    age = (await daemon.get(SYMBOL))["age_s"]
    while time.monotonic() < until:
        status, _ = await daemon.predict(rows=[{"ret_mean": 0.0, "ret_std": 1e-5, "n": 49}])
        assert status == 200
        assert await daemon.status(SYMBOL) == 200
        await asyncio.sleep(0.2)
    assert (await daemon.get(SYMBOL))["age_s"] > age


@pytest.mark.long
@pytest.mark.parametrize("away_s", [12, 60])
async def test_everything_a_network_does(
    away_s: int, proxy: Proxy, recording: Path, tmp_path: Path
) -> None:
    """The service recovers soon after each fault, without memory growth or repeated log lines."""
    digests, newest = undisturbed(recording)
    servers, name = f"127.0.0.1:{proxy.port}", uuid.uuid4().hex[:8]
    env = environment(servers, name)
    async with running("--path", str(recording), "--speed", SPEED, env=env, cwd=tmp_path) as daemon:
        await progresses(daemon)
        memory = await daemon.metric("process_resident_memory_bytes")

        for _ in range(5):
            proxy.reset()
            await asyncio.sleep(0.2)
        await progresses(daemon)

        proxy.slow(0.5)
        await asyncio.sleep(5)
        assert await daemon.status(SYMBOL) == 200
        proxy.heal()
        await progresses(daemon)

        proxy.swallow()
        await answers_while_degraded(daemon, 4)
        proxy.heal()
        await progresses(daemon)

        proxy.go_away()
        await answers_while_degraded(daemon, away_s)
        proxy.heal()
        await progresses(daemon)

        growth = await daemon.metric("process_resident_memory_bytes") - memory
        assert growth < MOST_GROWTH
        await caught_up(daemon, newest, 300)
        assert await daemon.stop() == 0
    await assert_identical(servers, name, digests, tmp_path)
    changes = [line for line in daemon.log.splitlines() if "kafka_" in line]
    assert changes
    for part in ("producer", "consumer", "topics", "reader", "history"):
        of_part = [("unreachable" in line) for line in changes if f'"{part}"' in line]
        assert all(a != b for a, b in pairwise(of_part)), changes
    assert len(daemon.log.splitlines()) < 50, daemon.log


@pytest.mark.long
async def test_an_instance_that_only_answers(proxy: Proxy, recording: Path, tmp_path: Path) -> None:
    """An instance without partitions answers for every symbol, during an outage as well."""
    _, newest = undisturbed(recording)
    servers, name = f"127.0.0.1:{proxy.port}", uuid.uuid4().hex[:8]
    # Its only client may still wait for an answer when the network is back.
    env = environment(servers, name, VOLSVC_KAFKA__REQUEST_TIMEOUT_MS="2000")
    async with running("--path", str(recording), "--speed", "max", env=env, cwd=tmp_path) as owner:
        await caught_up(owner, newest, 120)
        assert await owner.stop() == 0
    async with running("--roles", "api", env=env, cwd=tmp_path) as reader:
        await caught_up(reader, newest, 60)
        assert await reader.metric("volsvc_symbols") == 0
        proxy.go_away()
        await answers_while_degraded(reader, 2)
        assert await reader.status("/health") == 200
        proxy.heal()

        async def well() -> bool:
            return bool((await reader.get("/health"))["status"] == "ok")

        await eventually(well, RECOVERY_S, "the broker is reached again")
        assert await reader.stop() == 0
