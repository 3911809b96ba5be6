"""Questions about the past, beside the process that writes."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.store.past import START, SYMBOL, keep, kept, made
from volsvc.store import StoreError, StoreReader
from volsvc.store import reader as module
from volsvc.store.database import open_database, open_for_reading
from volsvc.store.minute_table import BLOCK_MINUTES, MinuteTable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a store with two days of a symbol, of which a part is missing."""
    there = [minute for minute in range(2_880) if not 800 <= minute < 1_500]
    keep(tmp_path / "a.db", made(there), made(range(3), symbol="A"))
    keep(tmp_path / "a.db", made(range(5)), feed="another")
    return tmp_path / "a.db"


async def test_spans(path: Path) -> None:
    """The span begins at a row or some hours before it, and ends at the newest row."""
    reader = StoreReader(path, 1)
    newest = START + 2_879
    assert await reader.symbols() == ["A", SYMBOL]
    assert await reader.span(SYMBOL) == (START, newest)
    assert await reader.span(SYMBOL, START + 100) == (START + 100, newest)
    # In the hole: the block that has the next row begins in it.
    assert await reader.span(SYMBOL, START + 900) == (START + 900, newest)
    assert await reader.span(SYMBOL, newest) == (newest, newest)
    assert await reader.span(SYMBOL, newest + 1) is None
    assert await reader.span("X") is None
    assert await reader.span("A") == (START, START + 2)
    assert await StoreReader(path, 2).span(SYMBOL) == (START, START + 4)
    reader.close()


async def test_rows_that_become_a_block_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that is being answered sees each row once, wherever it is put."""
    path = tmp_path / "a.db"
    with closing(open_database(path)) as connection:
        connection.execute("INSERT INTO feed VALUES (1, 'a', 6, 0)")
        table = MinuteTable(connection, 1)
        table.write(made(range(BLOCK_MINUTES + 10)))

        def reading(path: Path) -> sqlite3.Connection:
            opened = open_for_reading(path)
            opened.set_trace_callback(lambda query: table.pack_some() if " row " in query else None)
            return opened

        monkeypatch.setattr(module, "open_for_reading", reading)
        reader = StoreReader(path, 1)
        found = await reader.minutes(SYMBOL, START, START + BLOCK_MINUTES + 9)
        reader.close()
        assert not table.pack_some()
    assert len(found.rows) == BLOCK_MINUTES + 10


async def test_a_damaged_block_is_left_out_aloud(tmp_path: Path) -> None:
    """The other rows are answered, what is missing is told, and later rows of its time are kept."""
    path = tmp_path / "a.db"
    keep(path, made(range(2 * BLOCK_MINUTES + 10)))
    with closing(open_database(path)) as connection:
        connection.execute("UPDATE block SET content = x'0102' WHERE number % 2 = 1")
    found: list[str] = []
    reader = StoreReader(path, 1, found.append)
    rows = (await reader.minutes(SYMBOL, START, START + 2**20)).rows
    reader.close()
    assert len(rows) == BLOCK_MINUTES + 10
    text = f"{BLOCK_MINUTES} minutes of {SYMBOL} from 2026-01-05T12:00:00.000Z are damaged"
    assert [one.startswith(text) for one in found] == [True]
    with closing(open_database(path)) as connection:
        table = MinuteTable(connection, 1)
        table.write(made([BLOCK_MINUTES + 3, 3 * BLOCK_MINUTES]))
        while table.pack_some():
            pass
    assert not kept(path).damaged
    assert len(kept(path).rows) == BLOCK_MINUTES + 12


async def test_a_damaged_page_is_told(tmp_path: Path) -> None:
    """A question that cannot be answered is an error, and says to whom it may concern why."""
    path = tmp_path / "a.db"
    keep(path, made(range(3)))
    content = bytearray(path.read_bytes())
    content[4_096:] = b"\x01" * (len(content) - 4_096)
    path.write_bytes(content)
    found: list[str] = []
    reader = StoreReader(path, 1, found.append)
    with pytest.raises(StoreError):
        await reader.minutes(SYMBOL, START, START + 9)
    reader.close()
    (text,) = found
    assert text.startswith("cannot be read: ")


async def test_a_span_skips_whole_blocks(tmp_path: Path) -> None:
    """Half days without a row are skipped."""
    far = 10 * BLOCK_MINUTES + 7
    keep(tmp_path / "a.db", made([0, 1, far, far + 2 * BLOCK_MINUTES]))
    reader = StoreReader(tmp_path / "a.db", 1)
    newest = START + far + 2 * BLOCK_MINUTES
    # The rows of this half day are before it, which only the block itself would tell.
    assert await reader.span(SYMBOL, START + 2) == (START + 2, newest)
    found = await reader.span(SYMBOL, START + BLOCK_MINUTES)
    assert found == (START + 10 * BLOCK_MINUTES, newest)
    reader.close()


async def test_a_closed_reader_answers_what_it_was_asked(path: Path) -> None:
    """A question before the close is answered, one after it is an error of the store."""
    reader = StoreReader(path, 1)
    asked = [asyncio.ensure_future(reader.minutes(SYMBOL, START, START + 9)) for _ in range(9)]
    await asyncio.sleep(0)
    reader.close()
    assert [len((await one).rows) for one in asked] == [10] * 9
    with pytest.raises(StoreError, match="stopping"):
        await reader.symbols()


async def test_a_file_that_is_gone_or_foreign(tmp_path: Path) -> None:
    """Each question raises StoreError with the name of the file."""
    for content in (None, b"no database" * 999):
        if content:
            (tmp_path / "a.db").write_bytes(content)
        reader = StoreReader(tmp_path / "a.db", 1)
        with pytest.raises(StoreError, match=r"a\.db"):
            await reader.symbols()
        reader.close()
