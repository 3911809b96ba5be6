"""Identities of sources: equal ones give the same tick at the same position."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.unit.sources.replays import FAST, NOW_NS, SOURCES, Events, rows_of
from volsvc.sources.base import Source
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.sources.replay import FileSource, GeneratorSource
from volsvc.transport.codec import encode_position

HEAD = "time,symbol,price\n"


def recording(path: Path, text: str) -> str:
    path.write_text(text)
    return Recording([path], RowOptions()).identity


def test_a_recording_is_known_by_name_size_and_beginning(tmp_path: Path) -> None:
    """A byte more, a byte of the first 64 KiB or another name make another recording."""
    path = tmp_path / "a.csv"
    body = HEAD + "x" * 65_536
    identities = [
        recording(path, body),
        recording(path, body + "x"),
        recording(path, body[:-1]),
        recording(path, "T" + body[1:]),
        recording(path, body[:65_535] + "y" + body[65_536:]),
        recording(tmp_path / "b.csv", body),
    ]
    assert len(set(identities)) == len(identities)
    os.utime(path, (1, 1))
    assert recording(path, body) == identities[0], "neither time nor folder matters"
    (tmp_path / "moved").mkdir()
    assert recording(tmp_path / "moved" / "a.csv", body) == identities[0]


def selected(folder: Path, *symbols: str, default: str | None = "X") -> Source:
    recorded = Recording([folder / "t.csv"], RowOptions(default))
    return FileSource(recorded, FAST, Events(), symbols=frozenset(symbols))


async def test_equal_identities_mean_equal_ticks(folder: Path) -> None:
    """Sources of one identity agree in every position that both have, whatever they select."""
    sources = [
        *(make(folder) for make in SOURCES.values()),
        selected(folder, "BTC-USD"),
        selected(folder, "ETH-USD", "BTC-USD"),
        FileSource(
            Recording([folder / "t.csv"], RowOptions("X")), FAST, Events(), start_ns=NOW_NS + 1
        ),
        GeneratorSource(("BTC-USD",), 6, FAST, Events(), lambda: NOW_NS),
        GeneratorSource(("BTC-USD", "ETH-USD"), 5, FAST, Events(), lambda: NOW_NS + 1),
    ]
    rows = await asyncio.gather(*(rows_of(source, 400) for source in sources))
    seen: dict[tuple[str, int], object] = {}
    for source, ticks in zip(sources, rows, strict=True):
        for row in ticks:
            assert seen.setdefault((source.identity, row.position), row.tick) == row.tick


def test_a_selection_is_named_alike_in_every_process(folder: Path) -> None:
    """A restart with the same symbols resumes: sets have another order in each process."""
    names = [f"{letter}-USD" for letter in "ABCDEFGHIJ"]
    identity = selected(folder, *names).identity
    assert identity == f"{selected(folder).identity}+{'+'.join(names)}"


def test_a_name_that_is_not_unicode(tmp_path: Path) -> None:
    """It can be written into the header of a record like any other."""
    path = tmp_path / os.fsdecode(b"t\xff.csv")
    path.write_text(HEAD)
    encode_position(Recording([path], RowOptions()).identity, 1)
