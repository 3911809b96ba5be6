"""An instance that stops between publication and commit, on a real broker."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.daemon import launch, running
from tests.kafka.broker import Broker
from tests.kafka.fleet import (
    PARTITIONS,
    assert_identical,
    caught_up,
    environment,
    undisturbed,
)
from tests.kafka.log import committed, read_topic
from tests.waiting import PATIENCE
from volsvc.domain import NS, parse_time
from volsvc.failpoints import Point

ROOT = Path(__file__).parents[2]
# The passages of each point before the process stops there, in the order of the processes.
STOPS: Mapping[Point, int] = {
    "ticks_published": 2,
    "outcomes_published": 1,
    "minutes_published": 1,
    "states_published": 2,
    "before_commit": 1,
    "after_commit": 1,
}
WITHIN_S = 60.0


async def stopped_at(
    point: Point, after: int, arguments: tuple[str, ...], env: Mapping[str, str], cwd: Path
) -> None:
    """Run a daemon until it kills itself at a point."""
    process = await launch(
        *("run", "--port", "0", *arguments),
        env={**env, "PYTHONPATH": str(ROOT)},
        cwd=cwd,
        program=("tests.kafka.stopping", point, str(after)),
    )
    try:
        async with asyncio.timeout(PATIENCE * WITHIN_S):
            _, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == -signal.SIGKILL, log.decode()


async def assert_no_outcome_is_missing(servers: str, topic: str) -> None:
    """Assert that the outcomes of each symbol, model and horizon have no hole."""
    minutes: dict[tuple[str, str, float], set[int]] = {}
    for record in await read_topic(servers, topic, PARTITIONS):
        value = record.value
        kind = value["symbol"], value["model_variant"], value["horizon_s"]
        minutes.setdefault(kind, set()).add(parse_time(value["issued_at"]) // (60 * NS))
    assert minutes
    for kind, found in minutes.items():
        assert sorted(found) == list(range(min(found), max(found) + 1)), kind


async def assert_no_minute_is_missing(servers: str, topic: str) -> None:
    """Assert that the minutes of each symbol have no hole."""
    minutes: dict[str, set[int]] = {}
    for record in await read_topic(servers, topic, PARTITIONS):
        ends = {parse_time(row["time"]) // (60 * NS) for row in record.value["rows"]}
        minutes.setdefault(record.value["symbol"], set()).update(ends)
    assert minutes
    for symbol, found in minutes.items():
        assert sorted(found) == list(range(min(found), max(found) + 1)), symbol


@pytest.mark.long
async def test_stopped_at_each_point(broker: Broker, recording: Path, tmp_path: Path) -> None:
    """Processes that stop one after the other, each at its point, leave an undisturbed log."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    digests, newest = undisturbed(recording)
    env = environment(
        servers,
        name,
        VOLSVC_KAFKA__OUTCOMES_TOPIC=f"{name}.outcomes",
        VOLSVC_KAFKA__COMMIT_INTERVAL_S="0.1",
    )
    arguments = ("--path", str(recording), "--speed", "max")
    for point, after in STOPS.items():
        await stopped_at(point, after, arguments, env, tmp_path)
    left = await committed(servers, name, f"{name}.raw", PARTITIONS)
    async with running(*arguments, env=env, cwd=tmp_path) as daemon:
        await caught_up(daemon, newest, WITHIN_S)
        assert await daemon.stop() == 0
    ticks = await read_topic(servers, f"{name}.raw", PARTITIONS)
    positions = [record.headers["volsvc-position"] for record in ticks]
    assert len(set(positions)) == len(positions)
    assert 0 < sum(left.values()) < len(ticks), "the last process went on in the middle"
    await assert_identical(servers, name, digests, tmp_path)
    await assert_no_outcome_is_missing(servers, f"{name}.outcomes")
    await assert_no_minute_is_missing(servers, f"{name}.minutes")
