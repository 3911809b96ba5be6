"""Read recorded ticks from CSV, NDJSON or Parquet files, plain or in gzip or zstd, as a stream."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TextIO, TypeVar, cast

import msgspec

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
from volsvc.domain.texts import plain_text
from volsvc.sources.dialect import CsvLines
from volsvc.sources.file_names import pair_in_name, symbol_of_name
from volsvc.sources.lines import (
    COMPRESSIONS,
    DAMAGE,
    MAX_LINE,
    as_utf8,
    chunks_of,
    inflated,
    lines_of,
    zstd,
)
from volsvc.sources.messages import ticks_of_message
from volsvc.sources.pipes import STDIN, is_pipe, pipe_chunks, sniffed
from volsvc.telemetry.logs import get_logger

_decode = msgspec.json.Decoder().decode
log = get_logger(__name__)
T = TypeVar("T")

FORMATS = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}
Mode = Literal["r", "w"]
# Rows among which one has to be a tick.
CHECKED_ROWS = 1_000


Parsed = Tick | InvalidTickError | NotATickError | None


class FileRow(NamedTuple):
    """A line of a recording: its number, and the tick or the error.

    None stands for a line that is empty, or above the rows.
    """

    line: int
    tick: Parsed


FileRows = Iterator[FileRow]
# A step of reading that has come to no line.
NO_LINE = FileRow(0, None)


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
    """A file or a pipe of ticks; each call of `rows` reads a file from its start.

    `default_symbol` is the symbol of rows without one, by default that of the file's name; the rows
    of a pipe need one. The format of a file is that of its extension, the format of a pipe that of
    its first bytes. A pipe can be read only once.
    """

    def __init__(self, path: Path, default_symbol: str | None) -> None:
        if default_symbol is not None and not is_symbol(default_symbol):
            raise SourceError(f"{default_symbol!r} is not a valid symbol name")
        self.path = path
        self.is_pipe = is_pipe(path)
        self.label = "standard input" if path in STDIN else str(path)
        self._symbol_of_name = None if self.is_pipe or default_symbol else symbol_of_name(path)
        self._default_symbol = default_symbol or self._symbol_of_name
        self._opened_ns = time.time_ns()
        # An unknown extension is an error before anything is read.
        self._format = "" if self.is_pipe else file_format(path)
        self._progress: Callable[[], float] = lambda: 0.0

    @property
    def identity(self) -> str:
        """The file's name with a digest of its size and its first 64 KiB.

        Each reading of a pipe has its own name: nobody knows if it is the same again.
        """
        name = plain_text(self.path.name, 255)
        if self.is_pipe:
            return f"{name}@{self._opened_ns}"
        # Not of the whole file, which may have gigabytes.
        with self.path.open("rb") as file:
            head = file.read(65_536)
        digest = hashlib.sha256(head + str(self.path.stat().st_size).encode()).hexdigest()
        return f"{name}@{digest[:12]}"

    def check(self) -> None:
        """Read the first rows of a file; raises SourceError if none of them is a tick.

        The rows of a pipe are checked as they come.
        """
        if self.is_pipe:
            return
        for row in self._until_tick(islice(self.rows(), CHECKED_ROWS)):
            named = isinstance(row.tick, Tick) and row.tick.symbol == self._symbol_of_name
            # A name without a pair of assets was hardly meant as a symbol.
            if named and pair_in_name(self.path.name) is None:
                log.warning(
                    "file_name_as_symbol",
                    file=self.label,
                    symbol=self._symbol_of_name,
                    remedy="set source.default_symbol",
                )

    def _until_tick(self, rows: FileRows) -> FileRows:
        """Yield rows up to the first tick; raises SourceError if it is not among the first."""
        first, count = None, 0
        for row in rows:
            yield row
            if isinstance(row.tick, Tick):
                return
            if row.tick is not None:
                first, count = first or row, count + 1
            if count == CHECKED_ROWS:
                break
        if first is None:
            raise SourceError(f"{self.label}: holds no rows")
        raise SourceError(f"{self.label}: no row is a tick; line {first.line}: {first.tick}")

    @property
    def fraction(self) -> float:
        """Share of the file that `rows` has read so far, from 0 to 1; 0 for a pipe."""
        return self._progress()

    def rows(self) -> FileRows:
        """Yield every row with its line number; a damaged end of the file is the last row.

        No step takes long, whatever the file holds: one that comes to no line yields NO_LINE.
        Raises SourceError if it cannot be read, and for a pipe if none of the first rows is a tick.
        """
        rows = self._rows()
        if self.is_pipe:
            yield from self._until_tick(rows)
        yield from rows

    def _rows(self) -> FileRows:
        line = 0
        try:
            for row in self._read():
                line = row.line or line
                yield row
        # A broken download or a killed recorder: the rows up to the damage are good.
        except DAMAGE as error:
            detail = f"cannot be read beyond this line: {error}"[:200]
            yield FileRow(line + 1, InvalidTickError("file", detail, "row"))
        self._progress = lambda: 1.0

    def _read(self) -> FileRows:
        if self.is_pipe:
            return self._pipe_rows()
        if self._format == "parquet":
            return self._parquet_rows()
        raw, size = open_raw(self.path, "r"), max(1, self.path.stat().st_size)
        # By stored bytes, because the size of the text inside is not known.
        self._progress = lambda: 0.0 if raw.closed else raw.tell() / size
        return self._text_rows(chunks_of(raw), self.path)

    def _pipe_rows(self) -> FileRows:
        chunks, head, extension = pipe_chunks(self.path), b"", ""
        for chunk in chunks:
            head += chunk
            if extension := sniffed(head) if chunk else "":
                break
            yield NO_LINE
        extension = extension or sniffed(head, whole=True)
        if extension == ".parquet":
            raise SourceError(
                f"{self.label}: Parquet has its index at its end; write it to a file first"
            )
        yield from self._text_rows(chain([head], chunks), Path(f"pipe{extension}"))

    def _text_rows(self, chunks: Iterable[bytes], name: Path) -> FileRows:
        """Yield the rows of CSV or NDJSON, in the format and the compression of a name."""
        csv_lines = CsvLines(self._default_symbol) if file_format(name) == "csv" else None
        parse = (lambda text: (csv_lines.tick(text),)) if csv_lines else self._json_ticks
        number = 0
        try:
            for line in lines_of(as_utf8(inflated(chunks, name.suffix))):
                if line is None:
                    yield NO_LINE
                    continue
                number += 1
                blank = not line or line.isspace()
                for found in (None,) if blank else _parsed(parse, line):
                    yield FileRow(number, found)
            if csv_lines:
                csv_lines.end()
        except SourceError as error:
            raise SourceError(f"{self.label}: {error}") from error

    def _json_ticks(self, text: str) -> Sequence[Parsed]:
        try:
            record = _decoded(text)
        # A deeply nested line exhausts the stack.
        except (ValueError, RecursionError) as error:
            raise InvalidTickError("line", f"is not JSON{_hint(text)}", "json") from error
        if not isinstance(record, dict):
            raise InvalidTickError("line", f"is not a JSON object{_hint(text)}", "json")
        if (found := ticks_of_message(record)) is not None:
            # A message without ticks is a line without a row.
            return found or (None,)
        return (tick_from_record(record, default_symbol=self._default_symbol, source="ndjson"),)

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

        def parse(row: dict[str, Any]) -> Sequence[Parsed]:
            return (schema.tick(row, "parquet"),)

        line, total = 0, max(1, file.metadata.num_rows)
        try:
            for batch in file.iter_batches(batch_size=4_096, columns=names):
                self._progress = partial(operator.truediv, line, total)
                columns = [_python_values(column, compute) for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    line += 1
                    record = dict(zip(names, cells, strict=True))
                    yield FileRow(line, *_ticks_or_error(parse, record))
        # A damaged page, or a text in it that is not UTF-8.
        except (lib.ArrowException, ValueError) as error:
            raise EOFError(str(error)) from error


def _hint(line: str) -> str:
    array = line.lstrip().startswith("[")
    return "; a JSON array is not NDJSON: write one object a line" if array else ""


def _decoded(text: str) -> Any:
    try:
        return _decode(text)
    except msgspec.DecodeError:
        # Programs write NaN for nothing, and integers of any size.
        return json.loads(text)


def _parsed(parse: Callable[[str], Sequence[Parsed]], line: bytes) -> Sequence[Parsed]:
    if len(line) > MAX_LINE:
        return (InvalidTickError("line", f"is longer than {MAX_LINE:,} bytes", "row"),)
    # A bad byte spoils its row, not the file.
    return _ticks_or_error(parse, line.decode("utf-8", "replace"))


def _ticks_or_error(parse: Callable[[T], Sequence[Parsed]], row: T) -> Sequence[Parsed]:
    try:
        return parse(row)
    except (InvalidTickError, NotATickError) as error:
        return (error,)


def _python_values(column: Any, compute: Any) -> list[Any]:
    """Return a Parquet column as Python values, with times in ns since the epoch."""
    # Not as datetimes, which would cut nanoseconds to microseconds.
    if "timestamp" in str(column.type):
        unit = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[column.type.unit]
        epoch = compute.cast(column, "int64").to_pylist()
        return [None if value is None else value * unit for value in epoch]
    values: list[Any] = column.to_pylist()
    return values
