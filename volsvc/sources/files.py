"""Read recorded ticks from CSV, NDJSON or Parquet files, plain or in gzip or zstd, as a stream."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TextIO, cast

from volsvc.domain import (
    InvalidTickError,
    NotATickError,
    Schema,
    SourceError,
    Tick,
    is_symbol,
    tick_from_record,
)
from volsvc.domain.extras import needs_extra

# The same interface as the standard library's, which reports a truncated file; the package
# zstandard reads it as a whole one.
if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FORMATS = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}
Mode = Literal["r", "w"]
COMPRESSIONS = (".gz", ".zst")
# Rows in which `check` looks for a tick.
CHECKED_ROWS = 1_000
# Characters of a line. A longer one is not a tick, and a file without line ends is read in pieces.
MAX_LINE = 1_000_000


class FileRow(NamedTuple):
    """A line of a recording: its number, and the tick or the error."""

    line: int
    tick: Tick | InvalidTickError | NotATickError


FileRows = Iterator[FileRow]


def file_format(path: Path) -> str:
    """Return `csv`, `ndjson` or `parquet` by the extension; raises SourceError for another."""
    suffixes = [s.lower() for s in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    if not suffixes or suffixes[-1] not in FORMATS:
        known = ", ".join(FORMATS)
        raise SourceError(
            f"{path}: the extension must be one of {known}, with or without .gz or .zst"
        )
    style = FORMATS[suffixes[-1]]
    if style == "parquet" and compression:
        raise SourceError(
            f"{path}: Parquet is compressed inside; take a name without {compression}"
        )
    return style


def recordings_in(path: Path) -> list[Path]:
    """Return the files of a folder by name, without hidden ones; a file alone is one recording.

    Raises SourceError if the folder is empty.
    """
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    if not files:
        raise SourceError(f"{path}: the folder is empty")
    return files


def open_raw(path: Path, mode: Mode) -> BinaryIO:
    """Open a file for its bytes as they are stored; raises SourceError if it cannot be opened."""
    try:
        return cast("BinaryIO", path.open(mode + "b"))
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened: {error.strerror or error}") from error


@contextmanager
def text_of(raw: BinaryIO, path: Path, mode: Mode) -> Iterator[TextIO]:
    """Open the text inside a plain, gzip or zstd file, by its extension; closes `raw` at exit."""
    stream: Any = raw
    if path.suffix == ".gz":
        # No name and time in the header, so that the same rows give the same bytes.
        stream = gzip.GzipFile("", mode + "b", fileobj=raw, mtime=0)
    elif path.suffix == ".zst":
        stream = zstd.ZstdFile(raw, mode)
    # A bad byte spoils its row, not the file. The csv module needs line ends untranslated.
    with raw, io.TextIOWrapper(stream, "utf-8", errors="replace", newline="") as text:
        yield text


class Recording:
    """A file of ticks; each call of `rows` reads it from the start.

    `default_symbol` is the symbol of rows without one.
    """

    def __init__(self, path: Path, default_symbol: str | None) -> None:
        if default_symbol is not None and not is_symbol(default_symbol):
            raise SourceError(f"{default_symbol!r} is not a valid symbol name")
        self.path = path
        self._default_symbol = default_symbol
        readers: dict[str, Callable[[], FileRows]] = {
            "csv": self._csv_rows,
            "ndjson": self._json_rows,
            "parquet": self._parquet_rows,
        }
        self._read = readers[file_format(path)]
        self._progress: Callable[[], float] = lambda: 0.0

    @property
    def identity(self) -> str:
        """The file's name with a digest of its size and its first 64 KiB."""
        # Not of the whole file, which may have gigabytes.
        with self.path.open("rb") as file:
            head = file.read(65_536)
        digest = hashlib.sha256(head + str(self.path.stat().st_size).encode()).hexdigest()
        return f"{self.path.name}@{digest[:12]}"

    def check(self) -> None:
        """Read the first rows; raises SourceError if none of them is a tick."""
        first: FileRow | None = None
        for row in islice(self.rows(), CHECKED_ROWS):
            if isinstance(row.tick, Tick):
                return
            first = first or row
        if first is None:
            raise SourceError(f"{self.path}: holds no rows")
        raise SourceError(f"{self.path}: no row is a tick; line {first.line}: {first.tick}")

    @property
    def fraction(self) -> float:
        """Share of the file that `rows` has read so far, from 0 to 1."""
        return self._progress()

    def rows(self) -> FileRows:
        """Yield every row with its line number; a damaged end of the file is the last row."""
        line = 0
        try:
            for row in self._read():
                line = row.line
                yield row
        # A broken download or a killed recorder: the rows up to the damage are good.
        except (EOFError, OSError, zstd.ZstdError, csv.Error) as error:
            detail = f"cannot be read beyond this line: {error}"[:200]
            yield FileRow(line + 1, InvalidTickError("file", detail, "row"))
        self._progress = lambda: 1.0

    @contextmanager
    def _text(self) -> Iterator[TextIO]:
        raw, size = open_raw(self.path, "r"), max(1, self.path.stat().st_size)
        # By stored bytes, because the size of the text inside is not known.
        self._progress = lambda: 0.0 if raw.closed else raw.tell() / size
        with text_of(raw, self.path, "r") as text:
            yield text

    def _csv_rows(self) -> FileRows:
        with self._text() as file:
            reader = csv.reader(file)
            header = next(reader, None)
            if not header:
                raise SourceError(f"{self.path}: is empty")
            try:
                schema = Schema.of_columns(header, self._default_symbol)
            except SourceError as error:
                raise SourceError(f"{self.path}: {error}") from error
            names = [name.strip() for name in header]
            for cells in reader:
                if cells:
                    parse = partial(_csv_tick, names, cells, schema)
                    yield FileRow(reader.line_num, _tick_or_error(parse))

    def _json_rows(self) -> FileRows:
        with self._text() as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), ""), start=1):
                if line.strip():
                    yield FileRow(number, _tick_or_error(partial(self._json_tick, line)))

    def _json_tick(self, line: str) -> Tick:
        try:
            record = json.loads(line)
        # A deeply nested line exhausts the stack.
        except (ValueError, RecursionError) as error:
            raise InvalidTickError("line", f"is not JSON{_hint(line)}", "json") from error
        if not isinstance(record, dict):
            raise InvalidTickError("line", f"is not a JSON object{_hint(line)}", "json")
        return tick_from_record(record, default_symbol=self._default_symbol, source="ndjson")

    def _parquet_rows(self) -> FileRows:
        try:
            from pyarrow import compute, lib, parquet
        except ImportError as error:
            raise SourceError(needs_extra(f"{self.path}: Parquet", "pyarrow")) from error
        try:
            file = parquet.ParquetFile(self.path)
            schema = Schema.of_columns(file.schema_arrow.names, self._default_symbol)
        except (OSError, lib.ArrowException, SourceError) as error:
            raise SourceError(f"{self.path}: {error}") from error
        names = list(schema.columns.values())
        line, total = 0, max(1, file.metadata.num_rows)
        for batch in file.iter_batches(batch_size=4_096, columns=names):
            self._progress = partial(operator.truediv, line, total)
            columns = [_python_values(column, compute) for column in batch.columns]
            for cells in zip(*columns, strict=True):
                line += 1
                record = dict(zip(names, cells, strict=True))
                yield FileRow(line, _tick_or_error(partial(schema.tick, record, "parquet")))


def _csv_tick(names: Sequence[str], cells: Sequence[str], schema: Schema) -> Tick:
    tick = schema.tick(dict(zip(names, cells, strict=False)), "csv")
    # A row that a crash cut short may end inside a number, which would be read as a wrong price.
    if len(cells) < len(names):
        raise InvalidTickError("row", f"has {len(cells)} cells, not {len(names)}", "row")
    return tick


def _hint(line: str) -> str:
    array = line.lstrip().startswith("[")
    return "; a JSON array is not NDJSON: write one object a line" if array else ""


def _tick_or_error(parse: Callable[[], Tick]) -> Tick | InvalidTickError | NotATickError:
    try:
        return parse()
    except (InvalidTickError, NotATickError) as error:
        return error


def _python_values(column: Any, compute: Any) -> list[Any]:
    """Return a Parquet column as Python values, with times in ns since the epoch."""
    # Not as datetimes, which would cut nanoseconds to microseconds.
    if "timestamp" in str(column.type):
        unit = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[column.type.unit]
        epoch = compute.cast(column, "int64").to_pylist()
        return [None if value is None else value * unit for value in epoch]
    values: list[Any] = column.to_pylist()
    return values
