"""Pipes as recordings: read once, as their rows come, in a format that their bytes tell."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import threading
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from tests.unit.sources.replays import FAST, Events, rows_of
from volsvc.config.settings import SettingsError, load_settings
from volsvc.domain import SourceError
from volsvc.sources.factory import file_source
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.tables.lines import zstd
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.sources.recordings.tables.pipes import seekable
from volsvc.sources.replay import FileSource

COUNT = 2_000
CSV = b"time,symbol,price\n" + b"".join(
    b"%d,A,%d\n" % (1_767_571_200 + i, i + 1) for i in range(COUNT)
)
NDJSON = b"".join(
    json.dumps({"time": 1_767_571_200 + i, "symbol": "A", "price": i + 1}).encode() + b"\n"
    for i in range(COUNT)
)
FORMATS = {
    "csv": CSV,
    "ndjson": b"\n " + NDJSON,
    "csv.gz": gzip.compress(CSV),
    "ndjson.gz": gzip.compress(NDJSON),
    "csv.zst": zstd.compress(CSV),
    "ndjson.zst": zstd.compress(NDJSON),
}


@contextmanager
def pipe_of(data: bytes) -> Iterator[Path]:
    """Return a pipe into which a thread writes the data, in small pieces, and closes it."""
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb", buffering=0) as file:
            for start in range(0, len(data), 1_000):
                file.write(data[start : start + 1_000])

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield Path(f"/dev/fd/{reader}")
    finally:
        os.close(reader)
        thread.join(10)


def source(path: Path, events: Events | None = None) -> FileSource:
    return FileSource(Recording([path], RowOptions()), FAST, events or Events())


@pytest.mark.parametrize("name", FORMATS)
async def test_formats(name: str) -> None:
    """The format and the compression are told from the first bytes."""
    with pipe_of(FORMATS[name]) as path:
        rows = await rows_of(source(path), 10**6)
    assert [row.tick.price for row in rows] == list(range(1, COUNT + 1))
    assert [row.position for row in rows] == list(range(COUNT))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "is empty"),
        (b"time,symbol,price\n", "holds no rows"),
        (b"x\n" * 10, "missing column"),
        (b"{}\n" * 2_000, "no row is a tick; line 1"),
        (b"PAR1" + bytes(100), "Parquet"),
        (gzip.compress(CSV)[:20], "cannot be read"),
        (b"\x1f\x8b" + bytes(100), "cannot be read"),
    ],
    ids=range(7),
)
async def test_pipes_without_a_tick(data: bytes, fault: str) -> None:
    """They end the source with the reason, as a file of that kind does at the start."""
    with pipe_of(data) as path, pytest.raises(SourceError, match=fault):
        await rows_of(source(path), 10)


async def test_rows_come_as_they_are_written() -> None:
    """A row is there soon after it was written, whoever still holds the pipe open."""
    reader, writer = os.pipe()
    batches = source(Path(f"/dev/fd/{reader}")).batches(lambda row: False)
    os.write(writer, b"time,symbol,price\n")
    async with aclosing(batches):  # type: ignore[type-var]
        for i in range(3):
            os.write(writer, b"%d,A,1\n" % (1_767_571_200 + i))
            async with asyncio.timeout(10):
                batch = await anext(aiter(batches))
            assert [row.position for row in batch] == [i]
    os.close(writer)
    os.close(reader)


async def test_a_silent_pipe_can_be_stopped(tmp_path: Path) -> None:
    """Opening and reading wait for nobody, so neither holds a stop."""
    os.mkfifo(tmp_path / "t.csv")
    reading = asyncio.create_task(rows_of(source(tmp_path / "t.csv"), 1))
    await asyncio.sleep(0.3)
    assert not reading.done()
    reading.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await reading


async def test_a_publisher_that_starts_again_goes_on() -> None:
    """Rows that were read and not used come again; then those that follow, each once."""
    with pipe_of(CSV) as path:
        pipe, seen = source(path), list[int]()
        for used in (1, 2, 0, 10**6):
            batches = pipe.batches(lambda row: False)
            async with aclosing(batches):  # type: ignore[type-var]
                async for batch in batches:
                    if not used:
                        break
                    used -= 1
                    seen += [row.position for row in batch]
        # The last batch before each break counts as used when the next one is asked for.
    assert seen == list(range(COUNT))


def test_a_pipe_is_not_looped() -> None:
    """It is a mistake of the settings."""
    settings = load_settings(None, {"source": {"loop": True}})
    with pytest.raises(SettingsError, match=r"source\.loop"):
        file_source(settings, [Path("/dev/stdin")], Events())


def test_each_reading_of_a_pipe_is_a_stream_of_its_own() -> None:
    """Nobody knows if what comes is the same again, so nothing is resumed."""
    names = {Recording([Path("-")], RowOptions()).identity for _ in range(2)}
    assert len(names) == 2


@pytest.mark.parametrize("name", FORMATS)
def test_copies(name: str, tmp_path: Path) -> None:
    """A pipe becomes a file, which is deleted at the end."""
    (tmp_path / "a.csv").write_bytes(CSV)
    with pipe_of(FORMATS[name]) as path, seekable([path, tmp_path / "a.csv"]) as (copy, file):
        assert copy.name == "stdin"
        assert copy.read_bytes() == FORMATS[name]
        assert file == tmp_path / "a.csv"
    assert not copy.exists()
