"""A store: its contents after a restart, a crash, on a full disk and in a damaged file."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crash import Crash, crash
from tests.daemon import eventually
from tests.full_disk import files_end_at
from tests.unit.store.kept import (
    MINUTE,
    TOPIC,
    Reports,
    as_kept,
    kept,
    minutes,
    opened,
    position,
    record,
    running,
    same_digits,
)
from tests.waiting import PATIENCE
from volsvc.failpoints import Point, armed
from volsvc.store import StoreError
from volsvc.store import store as module
from volsvc.store.database import VERSION, open_database
from volsvc.store.kept_log import KeptLog
from volsvc.store.minute_table import BLOCK_MINUTES, MinuteTable
from volsvc.transport import OutRecord

WITHIN_S = 10.0
STATE = bytes(range(256)) * 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a store that does not exist yet."""
    return tmp_path / "volsvc.db"


async def soon(waiting: Awaitable[object]) -> None:
    """Wait for something that is due."""
    async with asyncio.timeout(PATIENCE * WITHIN_S):
        await waiting


async def until(what: str, state: Callable[[], bool]) -> None:
    """Wait until a state holds."""

    async def holds() -> bool:
        return state()

    await eventually(holds, WITHIN_S, what)


async def test_the_states_of_the_last_commit_come_back(path: Path) -> None:
    """With the positions at which they were; later ones, which nobody committed, do not."""
    first, second, third = (record("A", at, STATE[at:]) for at in (4, 7, 9))
    other = record("B", 5, STATE)
    async with running(path) as store:
        store.keep(TOPIC, [first, other])
        store.keep("ticks.raw", [third])
        store.keep(TOPIC, [second])
        store.commit({0: position(8), 3: position(6)})
        store.keep(TOPIC, [third])
    reopened = opened(path)
    assert kept(reopened) == as_kept(second, other)
    assert reopened.positions == {0: position(8), 3: position(6)}
    assert opened(path, name="kraken").records == []


async def test_the_partitions_stay_those_of_the_first_start(path: Path) -> None:
    """Positions count in them, whatever the setting says later."""
    assert opened(path, partitions=4).partitions == 4
    assert opened(path, partitions=9).partitions == 4
    assert opened(path, partitions=9, name="kraken").partitions == 9


async def test_a_fresh_start_keeps_the_minutes(path: Path) -> None:
    """States and positions are begun anew; the past is still what it was."""
    async with running(path) as store:
        store.keep(TOPIC, [record("A", 4, STATE)])
        store.keep_minutes(minutes("A", MINUTE, 3))
        store.commit({0: position(8)})
    found = opened(path, fresh=True)
    assert (found.records, found.positions) == ([], {})
    assert len((await found.reader.minutes("A", 0, 2**31)).rows) == 3
    assert opened(path).records == []


EDITS = st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 25_000)), max_size=30)


@settings(deadline=None, max_examples=20)
@given(EDITS, st.sets(st.integers(0, 30)))
def test_any_run_of_states_is_kept(edits: list[tuple[str, int]], restarts: set[int]) -> None:
    """The newest content of each symbol comes back, written whole or as a patch."""
    connection = open_database(Path(":memory:"))
    log, expected = KeptLog(connection, 1), dict[str, OutRecord]()
    for number, (symbol, at) in enumerate(edits):
        content = bytearray(expected[symbol].headers[1][1] if symbol in expected else STATE)
        content[at] ^= 255
        expected[symbol] = record(symbol, number, bytes(content))
        log.write([expected[symbol]], {})
        if number in restarts:
            log = KeptLog(connection, 1)
            list(log.records())
    found = [one for one in KeptLog(connection, 1).records() if isinstance(one, OutRecord)]
    assert as_kept(*found) == as_kept(*expected.values())
    connection.close()


@pytest.mark.parametrize("point", ["store_written", "store_committed"])
async def test_a_crash_leaves_all_of_a_transaction_or_nothing(point: Point, path: Path) -> None:
    """States, positions and minutes are of one commit, that before the crash or that of it."""
    before, after = record("A", 1, STATE), record("A", 2, STATE[::-1])
    async with running(path) as store:
        store.keep(TOPIC, [before])
        store.commit({0: position(1)})
    crashing = opened(path)
    crashing.keep(TOPIC, [after])
    crashing.keep_minutes(minutes("A", MINUTE, 3))
    crashing.commit({0: position(2)})
    with contextlib.suppress(Crash), armed(point, crash):
        await crashing.run()
    found = opened(path)
    whole = point == "store_committed"
    assert kept(found) == as_kept(after if whole else before)
    assert found.positions == {0: position(2 if whole else 1)}
    assert len((await found.reader.minutes("A", 0, 2**31)).rows) == (3 if whole else 0)


async def test_minutes_are_kept_with_their_models(path: Path) -> None:
    """A reader finds them while the store goes on writing."""
    reports = Reports()
    async with running(path, reports) as store:
        store.keep_minutes(minutes("A", MINUTE, 100))
        assert len((await store.reader.minutes("A", 0, 2**31)).rows) == 0
        store.commit({})
        await soon(reports.written.wait())
        found = await store.reader.minutes("A", MINUTE + 90, MINUTE + 200)
    assert same_digits(found.rows, minutes("A", MINUTE, 100).rows[90:], but=("model", "shadow"))
    named = [found.models[row["model"]] + found.models[row["shadow"]] for row in found.rows]
    assert set(named) == {("ml", "7", "baseline", "1")}


# --- faults -------------------------------------------------------------------------------


async def test_a_full_disk_heals(path: Path) -> None:
    """Health says so, nothing committed is lost, and what waited is written once there is room."""
    reports = Reports()
    async with running(path, reports) as store:
        store.keep(TOPIC, [record("A", 1, STATE)])
        store.commit({0: position(2)})
        await soon(reports.written.wait())
        with files_end_at(path.stat().st_size):
            store.keep(TOPIC, [record("A", 2, STATE[::-1])])
            store.keep_minutes(minutes("A", MINUTE, 3))
            store.commit({0: position(3)})
            await until("it tries again", lambda: reports.failures > 1)
            status, detail = reports.health[-1]
            assert (status, "nothing is kept: " in detail) == ("degraded", True)
        await until("it heals", lambda: reports.health[-1] == ("ok", ""))
        assert len((await store.reader.minutes("A", 0, 2**31)).rows) == 3
    assert kept(opened(path)) == as_kept(record("A", 2, STATE[::-1]))


async def test_a_disk_that_stays_full_costs_the_oldest_minutes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted; states, of which the newest count, are not lost."""
    monkeypatch.setattr(module, "MOST_WAITING", 10)
    reports = Reports()
    async with running(path, reports) as store:
        with files_end_at(path.stat().st_size):
            for part in range(5):
                store.keep_minutes(minutes("A", MINUTE + 4 * part, 4))
                store.keep(TOPIC, [record("A", part, STATE)])
                store.commit({0: position(part)})
            await until("it fails", lambda: reports.failures > 0)
        await until("it heals", lambda: reports.health[-1] == ("ok", ""))
        found = await store.reader.minutes("A", 0, 2**31)
    assert reports.lost == 12
    assert found.rows["minute"].tolist() == list(range(MINUTE + 12, MINUTE + 20))
    assert kept(opened(path)) == as_kept(record("A", 4, STATE))


async def test_a_damaged_state_costs_its_symbol_alone(path: Path) -> None:
    """The others come back; health says how many start anew."""
    async with running(path) as store:
        store.keep(TOPIC, [record("A", 1, STATE), record("B", 2, STATE)])
        store.commit({0: position(2)})
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE base SET content = zeroblob(25600) WHERE key = ?", (b"A",))
        connection.commit()
    reports = Reports()
    assert kept(opened(path, reports)) == as_kept(record("B", 2, STATE))
    assert reports.health == [
        ("degraded", "1 symbols start anew: the state of A is damaged: has another checksum")
    ]


@pytest.mark.parametrize("at", [0, -4_096])
async def test_a_corrupt_file_is_put_aside(path: Path, at: int) -> None:
    """A new one begins with what could be read, and keeps it from the first write on."""
    async with running(path) as store:
        for number in range(40):
            store.keep(TOPIC, [record(f"S{number}", number, STATE)])
        store.commit({0: position(2)})
    content = bytearray(path.read_bytes())
    at %= len(content)
    content[at : at + 2_000] = b"\xaa" * 2_000
    path.write_bytes(content)
    reports = Reports()
    async with running(path, reports) as store:
        read = kept(store)
    status, detail = reports.health[0]
    (aside,) = path.parent.glob("volsvc.db.broken-*")
    assert (status, aside.name in detail) == ("degraded", True)
    assert aside.stat().st_size == len(content)
    assert kept(opened(path)) == read


async def test_damage_that_a_question_finds_shows(path: Path) -> None:
    """Until the next start, whatever is written meanwhile, and once for each part."""
    first = MINUTE // BLOCK_MINUTES * BLOCK_MINUTES
    opened(path)
    with contextlib.closing(open_database(path)) as connection:
        table = MinuteTable(connection, 1)
        table.write(minutes("A", first, 2 * BLOCK_MINUTES + 1))
        while table.pack_some():
            pass
        connection.execute("UPDATE block SET content = x'00'")
    reports = Reports()
    async with running(path, reports) as store:
        for _ in range(2):
            assert len((await store.reader.minutes("A", 0, 2**31 - 1)).rows) == 1
        reports.written.clear()
        store.commit({0: position(1)})
        await soon(reports.written.wait())
    degraded = [detail for status, detail in reports.health if status == "degraded"]
    assert len(degraded) == len(reports.health) - 1
    assert "minutes of A from 2026-01-05T00:00:00.000Z are damaged" in degraded[-1]
    assert degraded[-1].endswith(", and 1 others; see store_damaged in the log")


async def test_a_store_of_a_newer_release_is_left_alone(path: Path) -> None:
    """So is a file of another program; the error says what to do."""
    opened(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="of a newer release, and this one knows"):
        opened(path)
    assert path.read_bytes() == before
    other = path.with_name("other.db")
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(StoreError, match="is a database of another program"):
        opened(other)


async def test_a_wrong_clock_costs_no_feed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A feed of which nobody made use for long leaves, but not by a clock that is soon set."""
    now_ns, year_ns = time.time_ns(), 366 * 86_400 * 10**9

    async def used(name: str, at_ns: int) -> int:
        """Use a feed at a time; return for how many others there are states then."""
        monkeypatch.setattr(time, "time_ns", lambda: at_ns)
        async with running(path, name=name) as store:
            store.keep(TOPIC, [record("BTC-USD", 1, STATE)])
            store.commit({1: position(2)})
        with contextlib.closing(sqlite3.connect(path)) as connection:
            query = "SELECT count(*) FROM feed JOIN record ON feed = id WHERE name <> ?"
            return int(connection.execute(query, (name,)).fetchone()[0])

    await used("a", now_ns)
    assert await used("b", now_ns + year_ns) == 1, "it may be a wrong clock"
    monkeypatch.setattr(module, "CLOCK_SET_S", 0)
    assert await used("a", 0) == 1
    assert await used("b", now_ns + year_ns + 1) == 1, "it was used last, whatever its clock said"
    assert await used("c", now_ns + 3 * year_ns) == 0


def test_a_path_that_cannot_be_opened(tmp_path: Path) -> None:
    """A folder in its place, or no folder for it."""
    for path in (tmp_path, tmp_path / "none" / "volsvc.db"):
        with pytest.raises(StoreError, match="unable to open"):
            opened(path)
