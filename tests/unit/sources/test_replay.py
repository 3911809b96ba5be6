"""Tests of the sources that replay a recording or the generator."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import pytest

from tests.unit.sources.replays import NOW_NS, SOURCES, Events, replay, rows_of
from volsvc.domain import NS, Tick

MANY = 1_500


@pytest.mark.parametrize("name", SOURCES)
class TestSourceContract:
    """Properties of every source."""

    async def test_ticks_are_repeatable(self, name: str, folder: Path) -> None:
        """Two sources of one identity give the same ticks at the same rising positions."""
        first, second = SOURCES[name](folder), SOURCES[name](folder)
        assert first.identity == second.identity
        rows = await rows_of(first, MANY)
        assert rows == await rows_of(second, MANY)
        assert rows == await rows_of(first, MANY), "and it can be read again"
        assert [row.position for row in rows] == sorted({row.position for row in rows})
        assert all(isinstance(row.tick, Tick) for row in rows)

    async def test_skip(self, name: str, folder: Path) -> None:
        """The rows after the skipped ones are unchanged."""
        rows = await rows_of(SOURCES[name](folder), 700)
        last = rows[99].position
        rest = await rows_of(SOURCES[name](folder), 600, lambda row: row.position <= last)
        assert rest == rows[100:]

    async def test_times_rise_for_each_symbol(self, name: str, folder: Path) -> None:
        """Event times of a symbol never go back, and trade ids never repeat."""
        rows = await rows_of(SOURCES[name](folder), 4_000)
        assert len(rows) > 900
        for symbol in {row.tick.symbol for row in rows}:
            ticks = [row.tick for row in rows if row.tick.symbol == symbol]
            assert all(a.time_ns <= b.time_ns for a, b in pairwise(ticks))
            assert len({t.trade_id for t in ticks}) == len(ticks)


async def test_clock_now_and_loop(folder: Path) -> None:
    """A shifted replay starts now with the same gaps; a lap starts a second after the last one."""
    plain = await rows_of(SOURCES["csv"](folder), 10**6)
    moved = await rows_of(SOURCES["now"](folder), 10**6)
    shift = NOW_NS - plain[0].tick.time_ns
    assert [r.tick.time_ns for r in moved] == [r.tick.time_ns + shift for r in plain]
    assert SOURCES["now"](folder).identity != SOURCES["csv"](folder).identity
    looped = await rows_of(SOURCES["loop"](folder), len(plain) + 10)
    span = plain[-1].tick.time_ns - plain[0].tick.time_ns + NS
    again = looped[len(plain) :]
    assert [r.tick.time_ns - span for r in again] == [r.tick.time_ns for r in plain[:10]]
    assert [r.tick.price for r in again] == [r.tick.price for r in plain[:10]]


async def test_selected_symbols(folder: Path) -> None:
    """Only the selected symbols are replayed."""
    rows = await rows_of(SOURCES["symbol"](folder), 10**6)
    assert {row.tick.symbol for row in rows} == {"ETH-USD"}


async def test_a_file_is_streamed(tmp_path: Path) -> None:
    """Only a small part of a big file is read before the first ticks."""
    path = tmp_path / "big.csv"
    with path.open("w") as out:
        writer = csv.writer(out)
        writer.writerow(["time", "symbol", "price"])
        writer.writerows((1_767_571_200 + i, "A", 1 + i) for i in range(200_000))
    source = replay(path)
    assert source.fraction == 0
    await rows_of(source, 100)
    assert source.fraction < 0.1
    assert sum(1 for _ in source.ticks()) == 200_000
    assert source.fraction == 1


async def test_invalid_rows(tmp_path: Path) -> None:
    """Each invalid row is reported with line and field; the valid ones are replayed."""
    lines = [
        json.dumps({"time": 1_767_571_200 + i, "symbol": "A", "price": 1 + i}) for i in range(50)
    ]
    lines[3] = "{"
    lines[4] = "[1]"
    lines[5] = json.dumps({"time": 1_767_571_205, "symbol": "A", "price": -1})
    lines[6] = json.dumps({"type": "heartbeat"})
    lines[7] = ""
    lines[9] = json.dumps({"time": 1_767_571_200, "symbol": "A", "price": 1})
    path = tmp_path / "t.ndjson"
    path.write_text("\n".join(lines))
    events = Events()
    rows = await rows_of(replay(path, events), 10**6)
    assert len(rows) == 45
    assert events.faults == [
        (4, "line", "rejected"),
        (5, "line", "rejected"),
        (6, "price", "rejected"),
        (7, "type", "rejected"),
        (10, "time", "late"),
    ]


HEAD = "time,symbol,price,note\n"
ROWS = [f"{1_767_571_200 + i},A,{100 + i},ok" for i in range(99)]
GIANT = "x" * 2_000_000


@pytest.mark.parametrize(
    "row",
    ['1767571239,A,"139,ok', '1767571239,A,139,"' + GIANT, f"{GIANT},A,139,ok", '"a""b"",c,d'],
    ids=range(4),
)
async def test_a_bad_row_of_csv_costs_itself_alone(row: str, tmp_path: Path) -> None:
    """A quote that is not closed, or a giant cell, is one row; what was skipped is counted."""
    path = tmp_path / "t.csv"
    path.write_text(HEAD + "\n".join([*ROWS[:39], row, *ROWS[40:]]) + "\n")
    events = Events()
    rows = await rows_of(replay(path, events), 10**6)
    assert [r.tick.price for r in rows] == [100.0 + i for i in range(99) if i != 39]
    assert [fault[0] for fault in events.faults] == [41]
    assert events.skipped == 1


async def test_a_giant_line_of_ndjson_is_one_row(tmp_path: Path) -> None:
    """It is counted once, and the lines around it are read."""
    lines = [json.dumps({"time": 1_767_571_200 + i, "symbol": "A", "price": 1}) for i in range(9)]
    lines[4] = json.dumps({"time": 1_767_571_204, "symbol": "A", "price": 1, "note": GIANT})
    path = tmp_path / "t.ndjson"
    path.write_text("\n".join(lines))
    events = Events()
    assert len(await rows_of(replay(path, events), 10**6)) == 8
    assert events.faults == [(5, "line", "rejected")]
    assert events.skipped == 1


async def test_quoted_cells(tmp_path: Path) -> None:
    """Quotes around cells, with commas and quotes inside, are as in any CSV."""
    path = tmp_path / "t.csv"
    path.write_text('"time","symbol","price","note"\n1767571200,"A","1.5","a, ""b"", c"\n')
    (row,) = await rows_of(replay(path), 10)
    assert (row.tick.symbol, row.tick.price) == ("A", 1.5)
