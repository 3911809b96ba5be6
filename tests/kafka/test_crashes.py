"""Tests of an instance that is killed again and again."""

from __future__ import annotations

import asyncio
import random
import signal
import uuid
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon, eventually, running
from tests.kafka.broker import Broker
from tests.kafka.fleet import (
    PARTITIONS,
    assert_identical,
    caught_up,
    environment,
    undisturbed,
)
from tests.kafka.log import read_topic
from tests.recordings import TWO_SYMBOLS


@pytest.mark.parametrize("path", TWO_SYMBOLS)
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
async def test_killed_again_and_again(
    kills: int, path: Path, broker: Broker, tmp_path: Path
) -> None:
    """Kills at random points of a replay leave the digests undisturbed."""
    digests, newest = undisturbed(path)
    name = uuid.uuid4().hex[:8]
    env = environment(broker.bootstrap_servers, name)
    arguments = ("--path", str(path), "--speed", "80")
    dice = random.Random(7)
    for _ in range(kills):
        async with running(*arguments, env=env, cwd=tmp_path) as daemon:

            async def under_way(daemon: RunningDaemon = daemon) -> bool:
                return await daemon.metric("volsvc_ticks_published_total") > 0

            await eventually(under_way, 30, "the replay goes on", 0.02)
            await asyncio.sleep(dice.uniform(0, 0.4))
            await daemon.stop(signal.SIGKILL)
    async with running("--path", str(path), "--speed", "max", env=env, cwd=tmp_path) as daemon:
        await caught_up(daemon, newest, 60)
        assert await daemon.stop() == 0
    await assert_identical(broker.bootstrap_servers, name, digests, tmp_path)
    ticks = await read_topic(broker.bootstrap_servers, f"{name}.raw", PARTITIONS)
    positions = [record.headers["volsvc-position"] for record in ticks]
    assert len(set(positions)) == len(positions)
