"""Tests of recordings in files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.unit.sources.replays import SOURCES, Events, replay, rows_of
from volsvc.domain import SourceError
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.tables.formats import open_raw, text_of
from volsvc.sources.recordings.tables.options import RowOptions


async def test_every_format_gives_the_same_ticks(folder: Path) -> None:
    """CSV, NDJSON and Parquet, compressed or not, give the same ticks."""
    plain = [row.tick for row in await rows_of(SOURCES["csv"](folder), 10**6)]
    for name in ("ndjson", "csv.gz", "ndjson.zst", "parquet"):
        other = [row.tick for row in await rows_of(SOURCES[name](folder), 10**6)]
        assert [(*t.__rich_repr__(),)[:-1] for t in other] == [
            (*t.__rich_repr__(),)[:-1] for t in plain
        ]


@pytest.mark.parametrize("kind", ["gz", "zst"])
async def test_a_truncated_file(kind: str, tmp_path: Path) -> None:
    """A truncated file is replayed up to its end, and the fault is reported."""
    line = '{"time": 1767571200, "symbol": "A", "price": 1}'
    path = tmp_path / f"t.ndjson.{kind}"
    with text_of(open_raw(path, "w"), path, "w") as out:
        # Prices differ, so that the text is not compressed to almost nothing.
        out.write("\n".join(line.replace("1}", f"{i + 1}}}") for i in range(20_000)))
    packed = path.read_bytes()
    path.write_bytes(packed[: len(packed) // 2])
    events = Events()
    rows = await rows_of(replay(path, events), 10**6)
    assert events.faults[-1][1] in ("file", "line")
    assert len(rows) < 20_000


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n", "empty"),
        ("a.csv", b"time,symbol\n1,2\n", "missing column 'price'"),
        ("a.csv", b"time,symbol,price\n", "holds no rows"),
        ("a.csv", b"time,symbol,price\n1767571200,A\n", "line 2: field 'row': has 2 cells"),
        ("a.csv", b"\x00\x01\x02\n\xff\xfe", "is no text"),
        ("a.ndjson", b"{\x01\x02\n\xff\xfe", "line 1"),
        ("a.ndjson", b"{}\n", "line 1: field 'time'"),
        ("a.csv.gz", b"\x1f\x8b time,symbol,price\n", "cannot be read"),
        ("a.csv.zst", b"\x28\xb5\x2f\xfd" + bytes(20) + b"\xff", "cannot be read"),
        ("a.csv.gz", gzip.compress(b"PAR1" + bytes(100), mtime=0), "decompress it first"),
        ("a.parquet", b"PAR1", "a.parquet"),
        ("a.zip", b"PK\x03\x04", "cannot be read"),
        ("a.feather", b"ARROW1", "a.feather"),
        ("a.json", b"[1, 2]", "element 1 is not JSON"),
        ("a.json", b"[[1, 2]]", "have no names"),
        ("a.txt", b"", "is empty"),
    ],
)
def test_unusable_files(name: str, content: bytes, fault: str, tmp_path: Path) -> None:
    """A file without a tick is an error of one line with the file and the reason."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        Recording([path], RowOptions("BTC-USD" if "time" not in str(content) else None)).check()
    assert str(path) in str(caught.value)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.csv", "none.ndjson.gz", "none.ndjson.zst", "none.parquet"])
def test_missing_files(name: str, tmp_path: Path) -> None:
    """A missing file is an error."""
    with pytest.raises(SourceError, match=r"[Nn]o such file"):
        Recording([tmp_path / name], RowOptions("X")).check()


def test_folders(tmp_path: Path) -> None:
    """A folder without data is an error, whatever its name."""
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(SourceError, match="holds no recording"):
        Recording([tmp_path / "a.csv"], RowOptions("X")).check()
