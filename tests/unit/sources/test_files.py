"""The contract of every source, and what is special to each."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from volsvc.commands.files import generate_file
from volsvc.config.settings import ReplaySettings
from volsvc.domain import NS, InvalidTickError, SourceError, SourceRow, Tick
from volsvc.sources.base import Skip, Source
from volsvc.sources.files import Recording, open_raw, text_of
from volsvc.sources.replay import FileSource, GeneratorSource

FAST = ReplaySettings(speed=math.inf)
NOW = 1_790_000_000 * NS
SYMBOLS = ("BTC-USD", "ETH-USD")
MANY = 1_500


class Events:
    """What a source reported."""

    def __init__(self) -> None:
        self.faults: list[tuple[int, str, str]] = []
        self.lateness: list[float] = []

    def rejected(self, path: str, line: int, error: InvalidTickError) -> None:
        self.faults.append((line, error.field, "rejected"))

    def out_of_order(self, path: str, line: int, error: InvalidTickError) -> None:
        self.faults.append((line, error.field, "late"))

    def late(self, seconds: float) -> None:
        self.lateness.append(seconds)


async def rows_of(source: Source, most: int, skip: Skip = lambda row: False) -> list[SourceRow]:
    rows: list[SourceRow] = []
    async for batch in source.batches(skip):
        assert batch
        rows += batch
        if len(rows) >= most:
            break
    return rows[:most]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same ticks in every format."""
    folder = tmp_path_factory.mktemp("formats")
    for name in ("t.csv", "t.ndjson", "t.csv.gz", "t.ndjson.zst", "t.parquet"):
        start = "2026-01-05T00:00:00Z"
        generate_file(folder / name, minutes=4, seed=5, symbols=SYMBOLS, start=start)
    return folder


def file(name: str, **options: object) -> Callable[[Path], Source]:
    def make(folder: Path) -> Source:
        return FileSource(Recording(folder / name, "X"), FAST, Events(), **options)  # type: ignore[arg-type]

    return make


SOURCES: dict[str, Callable[[Path], Source]] = {
    "csv": file("t.csv"),
    "ndjson": file("t.ndjson"),
    "csv.gz": file("t.csv.gz"),
    "ndjson.zst": file("t.ndjson.zst"),
    "parquet": file("t.parquet"),
    "loop": file("t.csv", loop=True),
    "now": file("t.csv", start_ns=NOW),
    "symbol": file("t.csv", symbols=frozenset({"ETH-USD"})),
    "generator": lambda _: GeneratorSource(SYMBOLS, 5, FAST, Events(), lambda: NOW),
}


@pytest.mark.parametrize("name", SOURCES)
class TestSourceContract:
    """Holds for every source."""

    async def test_it_says_the_same_twice(self, name: str, folder: Path) -> None:
        """Two sources of one identity give the same ticks at the same rising positions."""
        first, second = SOURCES[name](folder), SOURCES[name](folder)
        assert first.identity == second.identity
        rows = await rows_of(first, MANY)
        assert rows == await rows_of(second, MANY)
        assert rows == await rows_of(first, MANY), "and it can be read again"
        assert [row.position for row in rows] == sorted({row.position for row in rows})
        assert all(isinstance(row.tick, Tick) for row in rows)

    async def test_it_goes_on_after_what_is_skipped(self, name: str, folder: Path) -> None:
        """Skipping what has arrived gives the rest, unchanged."""
        rows = await rows_of(SOURCES[name](folder), 700)
        at = rows[99].position
        rest = await rows_of(SOURCES[name](folder), 600, lambda row: row.position <= at)
        assert rest == rows[100:]

    async def test_times_rise_for_each_symbol(self, name: str, folder: Path) -> None:
        """Event times of a symbol never go back, and trade ids never repeat."""
        rows = await rows_of(SOURCES[name](folder), 4_000)
        for symbol in {row.tick.symbol for row in rows}:
            ticks = [row.tick for row in rows if row.tick.symbol == symbol]
            assert all(a.time_ns <= b.time_ns for a, b in pairwise(ticks))
            assert len({t.trade_id for t in ticks}) == len(ticks)


async def test_every_format_gives_the_same_ticks(folder: Path) -> None:
    """CSV, NDJSON and Parquet, packed or not, are read to the same ticks."""
    plain = [row.tick for row in await rows_of(SOURCES["csv"](folder), 10**6)]
    for name in ("ndjson", "csv.gz", "ndjson.zst", "parquet"):
        other = [row.tick for row in await rows_of(SOURCES[name](folder), 10**6)]
        assert [(*t.__rich_repr__(),)[:-1] for t in other] == [
            (*t.__rich_repr__(),)[:-1] for t in plain
        ]


async def test_clock_now_and_loop(folder: Path) -> None:
    """A shifted replay starts now with the same gaps; a loop shifts event time on, a second up."""
    plain = await rows_of(SOURCES["csv"](folder), 10**6)
    moved = await rows_of(SOURCES["now"](folder), 10**6)
    shift = NOW - plain[0].tick.time_ns
    assert [r.tick.time_ns for r in moved] == [r.tick.time_ns + shift for r in plain]
    assert SOURCES["now"](folder).identity != SOURCES["csv"](folder).identity
    looped = await rows_of(SOURCES["loop"](folder), len(plain) + 10)
    span = plain[-1].tick.time_ns - plain[0].tick.time_ns + NS
    again = looped[len(plain) :]
    assert [r.tick.time_ns - span for r in again] == [r.tick.time_ns for r in plain[:10]]
    assert [r.tick.price for r in again] == [r.tick.price for r in plain[:10]]


async def test_symbols_are_chosen(folder: Path) -> None:
    """Only the wanted symbols are played."""
    rows = await rows_of(SOURCES["symbol"](folder), 10**6)
    assert {row.tick.symbol for row in rows} == {"ETH-USD"}


async def test_a_file_is_streamed(tmp_path: Path) -> None:
    """Of a big file only a little is read before the first ticks are out."""
    path = tmp_path / "big.csv"
    with path.open("w") as out:
        writer = csv.writer(out)
        writer.writerow(["time", "symbol", "price"])
        writer.writerows((1_767_571_200 + i, "A", 1 + i) for i in range(200_000))
    recording = Recording(path, None)
    source = FileSource(recording, FAST, Events())
    assert source.fraction == 0
    await rows_of(source, 100)
    assert source.fraction < 0.1
    assert sum(1 for _ in source.ticks()) == 200_000
    assert source.fraction == 1


LINES = [json.dumps({"time": 1_767_571_200 + i, "symbol": "A", "price": 1 + i}) for i in range(50)]


async def test_bad_rows_are_named_and_the_rest_is_played(tmp_path: Path) -> None:
    """Each bad row is reported with line and field; the good ones are played."""
    lines = list(LINES)
    lines[3] = "{"
    lines[4] = "[1]"
    lines[5] = json.dumps({"time": 1_767_571_205, "symbol": "A", "price": -1})
    lines[6] = json.dumps({"type": "heartbeat"})
    lines[7] = ""
    lines[9] = json.dumps({"time": 1_767_571_200, "symbol": "A", "price": 1})
    path = tmp_path / "t.ndjson"
    path.write_text("\n".join(lines))
    events = Events()
    rows = await rows_of(FileSource(Recording(path, None), FAST, events), 10**6)
    assert len(rows) == 45
    assert events.faults == [
        (4, "line", "rejected"),
        (5, "line", "rejected"),
        (6, "price", "rejected"),
        (7, "type", "rejected"),
        (10, "time", "late"),
    ]


@pytest.mark.parametrize("kind", ["gz", "zst"])
async def test_a_truncated_file_is_played_to_where_it_ends(kind: str, tmp_path: Path) -> None:
    """A download that broke off: what is there is played, then the fault is reported."""
    text = "\n".join(line for _ in range(400) for line in LINES)
    path = tmp_path / f"t.ndjson.{kind}"
    with text_of(open_raw(path, "w"), path, "w") as out:
        out.write(text)
    packed = path.read_bytes()
    path.write_bytes(packed[: len(packed) // 2])
    events = Events()
    source = FileSource(Recording(path, None), FAST, events)
    rows = await rows_of(source, 10**6)
    assert events.faults[-1][1] in ("file", "line")
    assert len(rows) < 400 * 50


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n", "empty"),
        ("a.csv", b"time,symbol\n1,2\n", "missing column 'price'"),
        ("a.csv", b"time,symbol,price\n", "holds no rows"),
        ("a.csv", b"time,symbol,price\n1767571200,A\n", "line 2: field 'price'"),
        ("a.csv", b"\x00\x01\x02\n\xff\xfe", "missing column"),
        ("a.ndjson", b"\x00\x01\x02\n\xff\xfe", "line 1"),
        ("a.ndjson", b"{}\n", "line 1: field 'time'"),
        ("a.csv.gz", b"time,symbol,price\n", "cannot be read"),
        ("a.csv.zst", b"time,symbol,price\n", "cannot be read"),
        ("a.parquet", b"PAR1", "a.parquet"),
        ("a.txt", b"", "extension"),
        ("a", b"", "extension"),
    ],
)
def test_unusable_files(name: str, content: bytes, fault: str, tmp_path: Path) -> None:
    """A file without a tick is one error that names the file and what is wrong."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        Recording(path, "BTC-USD" if "time" not in str(content) else None).check()
    assert str(path) in str(caught.value)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.csv", "none.ndjson.gz", "none.ndjson.zst", "none.parquet"])
def test_missing_files(name: str, tmp_path: Path) -> None:
    """A file that is not there is an error that says so."""
    with pytest.raises(SourceError, match=r"[Nn]o such file"):
        Recording(tmp_path / name, "X").check()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """Nor is a folder with a file's name."""
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(SourceError, match="cannot be opened"):
        Recording(tmp_path / "a.csv", "X").check()
