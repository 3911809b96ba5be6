"""Minutes in the database: written in any order, in blocks and out of them, and read in ranges."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.store.kept import MINUTE, minutes
from volsvc.store.database import open_database
from volsvc.store.minute_rows import round_numbers
from volsvc.store.minute_table import BLOCK_MINUTES, MinuteTable, read_minutes
from volsvc.store.retention import Retention, reclaim, size_of


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Return an open database with one feed."""
    opened = open_database(tmp_path / "store.db")
    opened.execute("INSERT INTO feed VALUES (1, 'a', 6, 0)")
    yield opened
    opened.close()


PARTS = st.lists(st.tuples(st.integers(0, 4 * BLOCK_MINUTES), st.integers(1, 1_900)), max_size=6)


@settings(deadline=None)
@given(PARTS, st.integers(0, 3 * BLOCK_MINUTES), st.integers(0, 3 * BLOCK_MINUTES), st.data())
def test_a_range_has_the_newest_row_of_each_minute(
    parts: list[tuple[int, int]], first: int, length: int, data: st.DataObject
) -> None:
    """A table that is packed and opened anew at any time answers as a mapping does."""
    connection = open_database(Path(":memory:"))
    connection.execute("INSERT INTO feed VALUES (1, 'a', 6, 0)")
    oracle: dict[int, Any] = {}
    table = MinuteTable(connection, 1)
    for seed, (start, count) in enumerate(parts):
        part = minutes("A", MINUTE + start, count, seed)
        table.write(part)
        rows = part.rows.copy()
        round_numbers(rows)
        oracle |= {int(row["minute"]): row for row in rows}
        step = data.draw(st.sampled_from(["pack", "reopen", "go on"]))
        if step == "pack":
            while table.pack_some():
                pass
        elif step == "reopen":
            table = MinuteTable(connection, 1)
    found = read_minutes(connection, 1, "A", MINUTE + first, MINUTE + first + length)
    expected = [oracle[at] for at in sorted(oracle) if 0 <= at - MINUTE - first <= length]
    assert found.rows["minute"].tolist() == [int(row["minute"]) for row in expected]
    for name in ("close", "forecasts", "ticks"):
        assert found.rows[name].tolist() == [row[name].tolist() for row in expected]
    assert all(found.models[row["shadow"]] == ("baseline", "1") for row in found.rows)
    connection.close()


def packed(connection: sqlite3.Connection, blocks: int) -> MinuteTable:
    """Return a table with so many blocks of two symbols, and a few minutes more."""
    table = MinuteTable(connection, 1)
    for symbol in ("A", "B"):
        table.write(minutes(symbol, MINUTE, blocks * BLOCK_MINUTES + 5))
    while table.pack_some():
        pass
    return table


def test_half_days_become_blocks(connection: sqlite3.Connection) -> None:
    """Complete ones are packed, others stay, and symbols stay apart."""
    packed(connection, 2)
    counts = "SELECT (SELECT count(*) FROM block), (SELECT count(*) FROM minute)"
    assert connection.execute(counts).fetchone() == (4, 10)
    assert read_minutes(connection, 1, "C", 0, 2**31).rows.size == 0
    assert read_minutes(connection, 2, "A", 0, 2**31).rows.size == 0


def test_a_past_is_written_as_blocks(connection: sqlite3.Connection) -> None:
    """Many rows of a half day that is over become a block at once, in however many parts."""
    table = MinuteTable(connection, 1)
    past = [minutes("A", MINUTE + 200 * part, 200, part) for part in range(12)]
    table.write(*past, minutes("B", MINUTE, 2 * BLOCK_MINUTES))
    counts = "SELECT (SELECT count(*) FROM block), (SELECT count(*) FROM minute)"
    begun = 12 * 200 % BLOCK_MINUTES
    assert connection.execute(counts).fetchone() == (3 + 1, begun + BLOCK_MINUTES)
    assert not table.pack_some()
    # Later parts join what is there.
    table.write(minutes("A", MINUTE + 2_400, BLOCK_MINUTES, 12))
    assert connection.execute(counts).fetchone() == (5, begun + BLOCK_MINUTES)
    found = read_minutes(connection, 1, "A", 0, 2**31)
    assert found.rows["minute"].tolist() == list(range(MINUTE, MINUTE + 2_400 + BLOCK_MINUTES))


def test_old_minutes_leave(connection: sqlite3.Connection) -> None:
    """Those beyond the days go first, then the oldest of a file that is too large."""
    table = packed(connection, 6)
    assert not reclaim(connection, Retention(1, 10**9), 1, table.newest, 0)
    first = [read_minutes(connection, 1, s, 0, 2**31).rows["minute"][0] for s in ("A", "B")]
    assert first == [MINUTE + 4 * BLOCK_MINUTES] * 2
    before = size_of(connection)
    while reclaim(connection, Retention(1, before - 1), 1, table.newest, 0):
        pass
    assert (
        read_minutes(connection, 1, "A", 0, 2**31).rows["minute"][0] == MINUTE + 5 * BLOCK_MINUTES
    )
    assert size_of(connection) < before


def test_a_feed_that_nobody_uses_leaves(connection: sqlite3.Connection) -> None:
    """As a whole, and not before its time."""
    connection.execute("INSERT INTO feed VALUES (2, 'b', 6, 0)")
    MinuteTable(connection, 2).write(minutes("A", MINUTE, 3))
    day_ns = 86_400 * 10**9
    for now_ns, left in ((day_ns, 3), (day_ns + 1, 0)):
        assert not reclaim(connection, Retention(1, 10**9), 1, MINUTE, now_ns)
        assert len(read_minutes(connection, 2, "A", 0, 2**31).rows) == left
    assert connection.execute("SELECT name FROM feed").fetchall() == [("a",)]
