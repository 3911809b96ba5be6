"""Record ticks to files that can be replayed at any time, even after a kill.

Text formats grow by whole chunks of lines, compressed ones by whole gzip members or zstd frames.
After a kill the file ends with at most one incomplete row, which a replay skips. A Parquet file has
its index at the end, so it is written anew and replaced in one step.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import time
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from volsvc.domain import SourceError, SourceRow, format_time
from volsvc.domain.extras import needs_extra
from volsvc.safe_io.disk import append_whole, replacing
from volsvc.sources.recordings.tables.formats import file_format
from volsvc.sources.recordings.tables.lines import COMPRESSIONS, zstd

# The names of the columns with their types in Parquet. `received_at` is last because no tick needs
# it: a row of text that is cut short lacks it, and so cannot be taken for a whole one.
COLUMN_TYPES = {
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
COLUMNS = tuple(COLUMN_TYPES)
# Bounds the cost of a Parquet file, which is rewritten for each batch of rows.
MAX_PARQUET_ROWS = 200_000


class RotationLimits(NamedTuple):
    """The size in bytes and the age in seconds at which a new file is started; None for never."""

    max_bytes: int | None = None
    max_s: float | None = None


class FileWriter(Protocol):
    """Writes one file of a recording."""

    @property
    def is_full(self) -> bool:
        """True if the file should take no more rows."""
        ...

    def append(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Write rows to the file before it returns; returns the size in bytes."""
        ...

    def close(self) -> None:
        """Complete the file."""
        ...


class Recorder:
    """Writes rows to one file, or to a series of numbered files."""

    def __init__(self, out: Path, limits: RotationLimits) -> None:
        """Raises SourceError if the file exists or its folder does not."""
        if not out.parent.is_dir():
            raise SourceError(f"{out}: there is no folder {out.parent}")
        self._out = out
        self._limits = limits
        self._number = 0
        self._writer: FileWriter | None = None
        self._size = 0
        self._opened = 0.0
        self.files: list[Path] = []
        self._open()

    def write(self, rows: Sequence[SourceRow]) -> None:
        """Write rows to the file at once; raises SourceError if the disk refuses them."""
        if not rows:
            return
        if self._rotation_due():
            self.close()
            self._open()
        assert self._writer is not None
        try:
            self._size = self._writer.append([_record(row) for row in rows])
        except OSError as error:
            raise _write_error(self.files[-1], error) from error

    def close(self) -> None:
        """Complete the current file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _rotation_due(self) -> bool:
        max_bytes, max_s = self._limits
        return (
            (self._writer is not None and self._writer.is_full)
            or (max_bytes is not None and self._size >= max_bytes)
            or (max_s is not None and time.monotonic() - self._opened >= max_s)
        )

    def _open(self) -> None:
        path = self._next_path()
        try:
            self._writer = _open_writer(path)
        except OSError as error:
            raise _write_error(path, error) from error
        self.files.append(path)
        self._size, self._opened = 0, time.monotonic()

    def _next_path(self) -> Path:
        """Return the given path, or with rotation the next free numbered one."""
        if self._limits == RotationLimits() and not self.files:
            return self._out
        while True:
            self._number += 1
            path = numbered_path(self._out, self._number)
            # An earlier recording of the same name is continued, not overwritten.
            if not path.exists():
                return path


def _open_writer(path: Path) -> FileWriter:
    kind = file_format(path)
    return ParquetWriter(path) if kind == "parquet" else TextWriter(path, kind)


class TextWriter:
    """Writes CSV or NDJSON, plain or compressed."""

    is_full = False

    def __init__(self, path: Path, kind: str) -> None:
        # Unbuffered, so that a kill loses no rows which `append` has taken.
        self._file = FileIO(path, "x")
        self._size = 0
        self._suffix = path.suffix
        self._csv = kind == "csv"
        self._needs_header = self._csv

    def append(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Write rows as one chunk."""
        data = self._compressed(self._csv_text(rows) if self._csv else _json_text(rows))
        self._size = append_whole(self._file, self._size, data)
        self._needs_header = False
        return self._size

    def _csv_text(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        if self._needs_header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()

    def _compressed(self, data: bytes) -> bytes:
        # A whole member or frame for each chunk: both formats may be concatenated.
        if self._suffix == ".gz":
            return gzip.compress(data, mtime=0)
        return zstd.compress(data) if self._suffix == ".zst" else data

    def close(self) -> None:
        """Close the file; its bytes are on the disk then."""
        os.fsync(self._file.fileno())
        self._file.close()


class ParquetWriter:
    """Writes Parquet: the whole file anew for each batch, replaced in one step."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
        except ImportError as error:
            raise SourceError(needs_extra("Parquet", "pyarrow")) from error
        if path.exists():
            raise FileExistsError(path)
        self._path = path
        self._schema = pa.schema([(n, pa.type_for_alias(t)) for n, t in COLUMN_TYPES.items()])
        self._table = self._schema.empty_table()
        self._save()

    @property
    def is_full(self) -> bool:
        """True once rewriting the file costs too much."""
        return bool(self._table.num_rows >= MAX_PARQUET_ROWS)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Replace the file by one that holds these rows too."""
        import pyarrow as pa

        more = pa.Table.from_pylist(list(rows), schema=self._schema)
        self._table = pa.concat_tables([self._table, more])
        return self._save()

    def _save(self) -> int:
        from pyarrow import parquet

        with replacing(self._path) as part:
            parquet.write_table(self._table, part)
        return self._path.stat().st_size

    def close(self) -> None:
        """Do nothing: the file is complete after each batch."""


def numbered_path(out: Path, number: int) -> Path:
    """Return the path with a number, such as `ticks-0001.csv.gz` for `ticks.csv.gz`."""
    keep = 2 if out.suffix in COMPRESSIONS else 1
    ending = "".join(out.suffixes[-keep:])
    return out.with_name(f"{out.name.removesuffix(ending)}-{number:04d}{ending}")


def _record(row: SourceRow) -> Mapping[str, Any]:
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


def _write_error(path: Path, error: OSError) -> SourceError:
    if isinstance(error, FileExistsError):
        return SourceError(f"{path}: already exists; name another file")
    return SourceError(f"{path}: cannot be written: {error.strerror or error}")
