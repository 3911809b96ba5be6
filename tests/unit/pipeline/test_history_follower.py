"""The history follower: minutes from the log to the store, once, at the pace of the disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.daemon import eventually
from tests.unit.store.kept import Reports, running
from tests.unit.store.past import START, SYMBOL, made
from volsvc.pipeline.history_follower import HistoryFollower
from volsvc.store import Minutes, Store
from volsvc.store.minutes_record import encode_minutes
from volsvc.transport import OutRecord
from volsvc.transport.memory import MemoryBus

TOPIC = "ticks.minutes"
PARTITIONS = 2


@contextlib.asynccontextmanager
async def following(bus: MemoryBus, store: Store) -> AsyncIterator[None]:
    """Follow the topic."""
    task = asyncio.create_task(HistoryFollower(bus, TOPIC, store).run())
    yield
    task.cancel()
    await asyncio.wait({task})


async def rows_of(store: Store) -> list[int]:
    found = await store.reader.minutes(SYMBOL, 0, 2**31 - 1)
    return [minute - START for minute in found.rows["minute"].tolist()]


async def have_come(store: Store, count: int) -> None:
    async def done() -> bool:
        return len(await rows_of(store)) == count

    await eventually(done, 10, f"{count} minutes are kept")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volsvc.store.store.WRITE_EVERY_S", 0.001)
    monkeypatch.setattr("volsvc.store.store.LONGEST_RETRY_S", 0.001)
    monkeypatch.setattr("volsvc.transport.memory.QUIET_S", 0.001)


def records(minutes: Minutes) -> list[OutRecord]:
    """Return minutes as records of one row each."""
    rows = (minutes.rows[index : index + 1] for index in range(len(minutes.rows)))
    each = (Minutes(minutes.symbols[:1], row, minutes.models) for row in rows)
    return [record for row in each for record in encode_minutes([row])]


async def test_minutes_are_read_once(tmp_path: Path) -> None:
    """A follower with the store of a former one goes on behind what that has kept."""
    bus, past = MemoryBus(partitions=PARTITIONS), records(made(range(100)))
    with capture_logs() as logs:
        for part in (slice(60), slice(60, None)):
            await bus.publish(TOPIC, past[part])
            known = len(logs)

            async def caught_up(known: int = known) -> bool:
                return len(logs) > known

            async with running(tmp_path / "a.db") as store, following(bus, store):
                await eventually(caught_up, 10, "the log is read")
        async with running(tmp_path / "a.db") as store:
            assert await rows_of(store) == list(range(100))
    done = [one for one in logs if one["event"] == "history_caught_up"]
    assert [(one["records"], one["minutes"]) for one in done] == [(60, 60), (40, 40)]


async def test_others_minutes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a position it reads the newest records alone."""
    monkeypatch.setattr("volsvc.pipeline.history_follower.MOST_RECORDS", 10)
    bus = MemoryBus(partitions=PARTITIONS)
    await bus.publish(TOPIC, records(made(range(100))))
    async with running(tmp_path / "a.db") as store, following(bus, store):
        await have_come(store, 10)
        assert await rows_of(store) == list(range(90, 100))


async def test_records_of_nobody_are_passed_over(tmp_path: Path) -> None:
    """A record that is not valid is logged with its place, and what follows is kept."""
    bus, past = MemoryBus(partitions=1), records(made(range(2)))
    broken = past[1]._replace(value=b"{")
    with capture_logs() as logs:
        await bus.publish(TOPIC, [broken, *past])
        async with running(tmp_path / "a.db") as store, following(bus, store):
            await have_come(store, 2)
    (warning,) = (one for one in logs if one["event"] == "minutes_not_read")
    assert (warning["topic"], warning["partition"], warning["offset"]) == (TOPIC, 0, 0)
    assert "minutes" in warning["error"]


async def test_while_the_disk_refuses_the_log_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more is read than there is room for, and nothing is lost in the end."""
    monkeypatch.setattr("volsvc.store.store.ROOM", 20)
    monkeypatch.setattr("volsvc.store.store.MOST_WAITING", 60)
    bus, reports = MemoryBus(partitions=1), Reports()
    await bus.publish(TOPIC, records(made(range(10))))
    async with running(tmp_path / "a.db", reports) as store, following(bus, store):
        with monkeypatch.context() as full:
            full.setattr(store, "_write", refuse)
            for part in range(1, 20):
                await bus.publish(TOPIC, records(made(range(10 * part, 10 * part + 10))))
                failures = reports.failures

                async def tried(failures: int = failures) -> bool:
                    return reports.failures > failures

                await eventually(tried, 10, "another attempt to write")
        await have_come(store, 200)
    assert reports.lost == 0


def refuse(batch: object) -> float:
    raise OSError("no space left on device")
