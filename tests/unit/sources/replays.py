"""Replays for the tests of sources."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from volsvc.config.settings import ReplaySettings
from volsvc.domain import NS, InvalidTickError, SourceRow
from volsvc.sources.base import Skip, Source
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.sources.replay import FileSource, GeneratorSource

FAST = ReplaySettings(speed=math.inf)
NOW_NS = 1_790_000_000 * NS
SYMBOLS = ("BTC-USD", "ETH-USD")


class Events:
    """Collects the events of a source."""

    def __init__(self) -> None:
        self.faults: list[tuple[int, str, str]] = []
        self.lateness: list[float] = []
        self.skipped: int | None = None

    def rejected(self, path: str, line: int, error: InvalidTickError) -> None:
        self.faults.append((line, error.field, "rejected"))

    def out_of_order(self, path: str, line: int, error: InvalidTickError) -> None:
        self.faults.append((line, error.field, "late"))

    def ended(self, path: str, rejected: int) -> None:
        self.skipped = rejected

    def late(self, seconds: float) -> None:
        self.lateness.append(seconds)


async def rows_of(source: Source, most: int, skip: Skip = lambda row: False) -> list[SourceRow]:
    """Return at most so many rows of a source."""
    rows: list[SourceRow] = []
    async for batch in source.batches(skip):
        assert batch
        rows += batch
        if len(rows) >= most:
            break
    return rows[:most]


def replay(path: Path, events: Events | None = None) -> FileSource:
    """Return a replay of a file without waits."""
    return FileSource(Recording([path], RowOptions()), FAST, events or Events())


def _file(name: str, **options: object) -> Callable[[Path], Source]:
    def make(folder: Path) -> Source:
        return FileSource(Recording([folder / name], RowOptions("X")), FAST, Events(), **options)  # type: ignore[arg-type]

    return make


# Sources by name, made for the folder of the fixture `folder`.
SOURCES: dict[str, Callable[[Path], Source]] = {
    "csv": _file("t.csv"),
    "ndjson": _file("t.ndjson"),
    "csv.gz": _file("t.csv.gz"),
    "ndjson.zst": _file("t.ndjson.zst"),
    "parquet": _file("t.parquet"),
    "loop": _file("t.csv", loop=True),
    "now": _file("t.csv", start_ns=NOW_NS),
    "symbol": _file("t.csv", symbols=frozenset({"ETH-USD"})),
    "generator": lambda _: GeneratorSource(SYMBOLS, 5, FAST, Events(), lambda: NOW_NS),
}
