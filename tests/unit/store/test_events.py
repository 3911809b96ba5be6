"""Events in a store: pages in order of time, once each, and not for ever; files of before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.unit.store.kept import MINUTE, Reports, opened, position, running
from tests.unit.store.past import SYMBOL, made
from volsvc.domain import NS
from volsvc.features import MINUTE_NS
from volsvc.store import EventQuery, KeptEvent, Retention
from volsvc.store.database import APPLICATION_ID, MIGRATIONS, VERSION, open_database
from volsvc.store.event_table import read_events, write_events
from volsvc.store.minute_table import MinuteTable, read_minutes
from volsvc.store.retention import reclaim

FEED = 7
START_NS = MINUTE * MINUTE_NS


def event(second: int, kind: str = "gap", symbol: str = "A") -> KeptEvent:
    return KeptEvent(START_NS + second * NS, kind, symbol, b'{"gaps":%d}' % second)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "a.db")) as connection:
        yield connection


def pages(file: sqlite3.Connection, query: EventQuery) -> list[list[KeptEvent]]:
    """Return all pages of a question."""
    found = []
    while True:
        page, following = read_events(file, FEED, query)
        found.append(page)
        if following is None:
            return found
        assert query.start_ns is not None
        assert following > query.start_ns
        query = query._replace(start_ns=following)


@pytest.mark.parametrize("seed", range(30))
def test_pages_are_the_whole(file: sqlite3.Connection, seed: int) -> None:
    """Whatever is asked for, the pages have each event once, and none of a time on two pages."""
    rng = np.random.default_rng(seed)
    numbers = zip(*(rng.integers(0, high, 60).tolist() for high in (20, 3, 4)), strict=True)
    given = {
        (second, kind, symbol): event(second, ("gap", "model", "drift")[kind], "ABCD"[symbol])
        for second, kind, symbol in numbers
    }
    write_events(file, FEED, given.values())
    write_events(file, FEED + 1, [event(3, "other")])
    ordered = sorted(given.values())
    for kind, symbol in ((None, None), ("gap", None), (None, "B"), ("model", "C")):
        expected = [e for e in ordered if kind in (None, e.kind) and symbol in (None, e.symbol)]
        start, end = START_NS + 2 * NS, START_NS + 17 * NS
        part = [e for e in expected if start < e.time_ns <= end]
        limit = int(rng.integers(1, 12))
        found = pages(file, EventQuery(limit, start, end, kind, symbol))
        assert [e for page in found for e in page] == part
        for page in found:
            assert len(page) <= limit or len({e.time_ns for e in page}) == 1
        times = [{e.time_ns for e in page} for page in found]
        assert sum(map(len, times)) == len(set().union(*times))
        newest, following = read_events(file, FEED, EventQuery(limit, None, None, kind, symbol))
        assert (newest, following) == (expected[-limit:], None)


def test_events_of_ticks_that_come_again_are_one(file: sqlite3.Connection) -> None:
    """After a crash ticks are processed again: what they show was told before."""
    for _ in range(2):
        write_events(file, FEED, [event(1), event(2), event(1, symbol="B")])
    assert len(read_events(file, FEED, EventQuery(10))[0]) == 3


def test_old_events_leave(file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are kept as long as minutes, and so many at most."""
    day = 86_400
    write_events(file, FEED, [event(number * day) for number in range(10)])

    def left() -> Sequence[int]:
        found = read_events(file, FEED, EventQuery(100))[0]
        return [(one.time_ns - START_NS) // (day * NS) for one in found]

    newest = MINUTE + 9 * 1_440
    reclaim(file, Retention(3, 10**10), FEED, newest, now_ns=0)
    assert left() == [6, 7, 8, 9]
    monkeypatch.setattr("volsvc.store.event_table.MOST_EVENTS", 2)
    reclaim(file, Retention(3, 10**10), FEED, newest, now_ns=0)
    assert left() == [8, 9]


async def test_events_of_ticks_wait_for_their_commit(tmp_path: Path) -> None:
    """Others are written at once."""
    reports = Reports()
    async with running(tmp_path / "a.db", reports) as store:
        store.keep_event(event(1), at_once=False)
        store.keep_event(event(2, "model", ""), at_once=True)
        await reports.written.wait()
        assert (await store.reader.events(EventQuery(9)))[0] == [event(2, "model", "")]
        store.commit({0: position(1)})
    async with running(tmp_path / "a.db") as store:
        found, _ = await store.reader.events(EventQuery(9))
        assert found == [event(1), event(2, "model", "")]


async def test_events_of_feeds_are_apart(tmp_path: Path) -> None:
    """Another feed in the same file has its own."""
    async with running(tmp_path / "a.db") as store:
        store.keep_event(event(1, symbol=""), at_once=True)
    async with running(tmp_path / "a.db", name="kraken") as store:
        assert await store.reader.events(EventQuery(9)) == ([], None)


def test_a_file_of_before_has_its_past(tmp_path: Path) -> None:
    """A store of version 1 gets the table of events, and keeps all else."""
    path, past = tmp_path / "a.db", made(range(3))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(MIGRATIONS[0])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        MinuteTable(connection, 1).write(past)
    store = opened(path)
    store.reader.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,) == (2,)
        kept = read_minutes(connection, 1, SYMBOL, 0, 2**31 - 1)
        assert kept.rows["minute"].tolist() == past.rows["minute"].tolist()
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (0,)
