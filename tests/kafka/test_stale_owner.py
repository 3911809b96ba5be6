"""Tests of a paused owner that writes old states over new ones."""

from __future__ import annotations

import gzip
import signal
import uuid
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon, command, eventually, launch, running
from tests.kafka.broker import Broker
from tests.kafka.fleet import (
    PARTITIONS,
    assert_identical,
    caught_up,
    environment,
    of_instance,
    published,
    undisturbed,
)
from tests.kafka.log import LogRecord, create_topic, write_to

pytestmark = pytest.mark.long

COMPACTED_AT_ONCE = {
    "cleanup.policy": "compact",
    "segment.ms": "300",
    "min.cleanable.dirty.ratio": "0.01",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "1000",
}
INSTANCE = ("--source", "none", "--roles", "consumer,api")


def halves(recording: Path, folder: Path) -> tuple[Path, Path]:
    """Write the halves of a recording to two files."""
    lines = gzip.decompress(recording.read_bytes()).splitlines(keepends=True)
    middle = len(lines) // 2
    paths = folder / "first.ndjson", folder / "second.ndjson"
    for path, part in zip(paths, (lines[:middle], lines[middle:]), strict=True):
        path.write_bytes(b"".join(part))
    return paths


def offset_of(record: LogRecord) -> int:
    return int(record.headers["volsvc-offset"])


def newest_of(records: list[LogRecord]) -> dict[bytes | None, int]:
    """Return the highest offset of each symbol's states."""
    newest: dict[bytes | None, int] = {}
    for record in records:
        newest[record.key] = max(offset_of(record), newest.get(record.key, -1))
    return newest


def last_of(records: list[LogRecord]) -> dict[bytes | None, int]:
    """Return the offset of each symbol's last state, which is the one that compaction keeps."""
    return {record.key: offset_of(record) for record in records}


def went_back(records: list[LogRecord]) -> bool:
    """Return True if an older state of a symbol was ever written after a newer one."""
    newest: dict[bytes | None, int] = {}
    for record in records:
        if offset_of(record) < newest.get(record.key, -1):
            return True
        newest[record.key] = offset_of(record)
    return False


async def test_paused_owner_and_compaction(broker: Broker, recording: Path, tmp_path: Path) -> None:
    """The old states are overwritten at once, so that compaction keeps the newest of each."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    await create_topic(servers, f"{name}.features", PARTITIONS, COMPACTED_AT_ONCE)
    first, second = halves(recording, tmp_path)
    _, newest_of_first = undisturbed(first)
    digests, newest = undisturbed(recording)
    env = environment(servers, name)

    async with running(*INSTANCE, env=of_instance(env, f"{name}-a"), cwd=tmp_path) as a:
        replay = await launch("replay", str(first), "--speed", "100", env=env, cwd=tmp_path)
        await processed(a, 2_000)
        a.process.send_signal(signal.SIGSTOP)
        async with running(*INSTANCE, env=of_instance(env, f"{name}-b"), cwd=tmp_path) as b:
            assert await replay.wait() == 0
            await caught_up(b, newest_of_first, 30)
            assert not went_back(await published(servers, name))
            a.process.send_signal(signal.SIGCONT)

            old_written = False

            async def written_again() -> bool:
                # Compaction may remove the old states between two reads.
                nonlocal old_written
                records = await published(servers, name)
                old_written = old_written or went_back(records)
                return old_written and last_of(records) == newest_of(records)

            await eventually(written_again, 20, "old states are written and overwritten")
            assert await b.metric("volsvc_state_rewrites_total") > 0
            truth = newest_of(await published(servers, name))
            await a.stop(signal.SIGKILL)
            await b.stop(signal.SIGKILL)
    await compaction(servers, name)
    assert last_of(await published(servers, name)) == truth
    code, _, err = await command("replay", str(second), "--speed", "max", env=env, cwd=tmp_path)
    assert code == 0, err
    async with running(*INSTANCE, env=of_instance(env, f"{name}-c"), cwd=tmp_path) as c:
        await caught_up(c, newest, 60)
        assert await c.stop() == 0
    await assert_identical(servers, name, digests, tmp_path)


async def processed(daemon: RunningDaemon, ticks: int) -> None:
    async def done() -> bool:
        return await daemon.metric("volsvc_ticks_total") >= ticks

    await eventually(done, 30, f"{ticks} ticks processed")


async def compaction(servers: str, name: str) -> None:
    """Wait for one record per symbol, while new records close the segments."""

    async def compacted() -> bool:
        for partition in range(PARTITIONS):
            await write_to(servers, f"{name}.features", partition, b"filler", b"{}")
        records = await published(servers, name)
        return len(records) == len({r.key for r in records})

    await eventually(compacted, 40, "compaction", every_s=0.4)
