"""Writing ticks as they come into files that can be replayed at any moment, even after a kill.

Text formats grow by whole chunks of lines; compressed ones by whole gzip members or zstd frames.
What a kill tears off at the end is one row that replays skip, never a wrong tick: the columns that
a tick needs are followed by one that it does not. A Parquet file has its index at the end, so it is
written anew and put in place in one step.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from volsvc.domain import SourceError, SourceRow, format_time
from volsvc.sources.files import COMPRESSIONS, file_format

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COLUMNS = (
    "symbol",
    "time",
    "price",
    "best_bid",
    "best_ask",
    "size",
    "side",
    "trade_id",
    "sequence",
    "received_at",
)
PARQUET_TYPES = {
    "symbol": "string",
    "time": "string",
    "price": "float64",
    "best_bid": "float64",
    "best_ask": "float64",
    "size": "float64",
    "side": "string",
    "trade_id": "int64",
    "sequence": "int64",
    "received_at": "string",
}
# A Parquet file is rewritten as it grows, so it may not grow for ever.
MAX_PARQUET_ROWS = 200_000


class Limits(NamedTuple):
    """When a new file is begun: at this size or age; None for never."""

    max_bytes: int | None = None
    max_s: float | None = None


class Segment(Protocol):
    """One file of a recording."""

    @property
    def full(self) -> bool:
        """Whether the format wants no more rows in this file."""
        ...

    def append(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Add rows; they are in the file when this returns. Returns the size in bytes."""
        ...

    def close(self) -> None:
        """The file is complete."""
        ...


class Recorder:
    """Rows into one file, or into numbered ones that follow one another."""

    def __init__(self, out: Path, limits: Limits) -> None:
        """Raises SourceError when the file exists or its folder does not."""
        if not out.parent.is_dir():
            raise SourceError(f"{out}: there is no folder {out.parent}")
        self._out = out
        self._limits = limits
        self._number = 0
        self._segment: Segment | None = None
        self._size = 0
        self._opened = 0.0
        self.files: list[Path] = []
        self._open()

    def write(self, rows: Sequence[SourceRow]) -> None:
        """Put rows into the file at once. Raises SourceError when the disk refuses."""
        if not rows:
            return
        if self._due():
            self.close()
            self._open()
        assert self._segment is not None
        try:
            self._size = self._segment.append([_fields(row) for row in rows])
        except OSError as error:
            raise _unwritable(self.files[-1], error) from error

    def close(self) -> None:
        """Complete the file."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _due(self) -> bool:
        most_bytes, most_s = self._limits
        return (
            (self._segment is not None and self._segment.full)
            or (most_bytes is not None and self._size >= most_bytes)
            or (most_s is not None and time.monotonic() - self._opened >= most_s)
        )

    def _open(self) -> None:
        path = self._next_path()
        style = file_format(path)
        try:
            self._segment = ParquetSegment(path) if style == "parquet" else TextSegment(path, style)
        except OSError as error:
            raise _unwritable(path, error) from error
        self.files.append(path)
        self._size, self._opened = 0, time.monotonic()

    def _next_path(self) -> Path:
        """The file itself, unless files follow one another: then the next free number."""
        if self._limits == Limits() and not self.files:
            return self._out
        while True:
            self._number += 1
            path = numbered(self._out, self._number)
            if not path.exists():
                return path


class TextSegment:
    """CSV or NDJSON, plain or compressed."""

    full = False

    def __init__(self, path: Path, style: str) -> None:
        self._file = path.open("xb", buffering=0)
        self._suffix = path.suffix
        self._csv = style == "csv"
        self._header = self._csv

    def append(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Add rows in one piece."""
        data = self._packed(self._csv_text(rows) if self._csv else _json_text(rows))
        while data:
            data = data[self._file.write(data) :]
        return self._file.tell()

    def _csv_text(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        if self._header:
            writer.writeheader()
            self._header = False
        writer.writerows(rows)
        return text.getvalue().encode()

    def _packed(self, data: bytes) -> bytes:
        if self._suffix == ".gz":
            return gzip.compress(data, mtime=0)
        return zstd.compress(data) if self._suffix == ".zst" else data

    def close(self) -> None:
        """Bring the bytes to the disk."""
        os.fsync(self._file.fileno())
        self._file.close()


class ParquetSegment:
    """Parquet: the whole file anew each time, put in place in one step."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
        except ImportError as error:
            raise SourceError("Parquet needs an extra: pip install 'volsvc[parquet]'") from error
        if path.exists():
            raise FileExistsError(path)
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._schema = pa.schema([(n, pa.type_for_alias(t)) for n, t in PARQUET_TYPES.items()])
        self._table = self._schema.empty_table()
        self._save()

    @property
    def full(self) -> bool:
        """Whether rewriting it costs too much by now."""
        return bool(self._table.num_rows >= MAX_PARQUET_ROWS)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Add rows; the file with them replaces the file without."""
        import pyarrow as pa

        more = pa.Table.from_pylist(list(rows), schema=self._schema)
        self._table = pa.concat_tables([self._table, more])
        return self._save()

    def _save(self) -> int:
        from pyarrow import parquet

        parquet.write_table(self._table, self._part)
        self._part.replace(self._path)
        return self._path.stat().st_size

    def close(self) -> None:
        """Nothing is left to do."""


def numbered(out: Path, number: int) -> Path:
    """`ticks.csv.gz` with a number: `ticks-0001.csv.gz`."""
    keep = 2 if out.suffix in COMPRESSIONS else 1
    ending = "".join(out.suffixes[-keep:])
    return out.with_name(f"{out.name.removesuffix(ending)}-{number:04d}{ending}")


def _fields(row: SourceRow) -> Mapping[str, Any]:
    tick = row.tick
    received = None if row.received_ns is None else format_time(row.received_ns)
    return {
        **{name: getattr(tick, name) for name in COLUMNS[2:-1]},
        "symbol": tick.symbol,
        "time": format_time(tick.time_ns),
        "received_at": received,
    }


def _json_text(rows: Sequence[Mapping[str, Any]]) -> bytes:
    lines = [msgspec.json.encode({name: row[name] for name in COLUMNS}) for row in rows]
    return b"\n".join(lines) + b"\n"


def _unwritable(path: Path, error: OSError) -> SourceError:
    if isinstance(error, FileExistsError):
        return SourceError(f"{path}: already exists; name another file")
    return SourceError(f"{path}: cannot be written: {error.strerror or error}")
