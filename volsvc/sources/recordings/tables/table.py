"""One file or pipe as a table: its format is told by its content, its rows come in blocks."""

from __future__ import annotations

import operator
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from volsvc.domain import InvalidTickError, SourceError
from volsvc.domain.times import time_form
from volsvc.sources.recordings.file_names import pair_in_name
from volsvc.sources.recordings.tables.arrow_tables import ArrowTable
from volsvc.sources.recordings.tables.blocks import Block, CsvTable
from volsvc.sources.recordings.tables.columns import values_of
from volsvc.sources.recordings.tables.dialect import (
    GIVE_NAMES,
    Dialect,
    DialectFinder,
    Kind,
    layout_of,
)
from volsvc.sources.recordings.tables.formats import Format, is_data, open_raw, sniffed
from volsvc.sources.recordings.tables.json_lines import Records, records_of_array, records_of_lines
from volsvc.sources.recordings.tables.lines import (
    CHUNK,
    DAMAGE,
    as_utf8,
    chunks_of,
    inflated,
    line_blocks,
)
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.sources.recordings.tables.pipes import STDIN, is_pipe, pipe_chunks

# Bytes of a file from which its format is told.
_HEAD: Final = 65_536
_NEEDS_A_FILE: Final = "has its index at its end; write it to a file first"


class Table:
    """A file or a pipe of rows. A pipe can be read only once.

    `format` and `dialect` are known once the first rows have been read.
    """

    def __init__(self, path: Path, options: RowOptions) -> None:
        self.path = path
        self.options = options
        self.is_pipe = is_pipe(path)
        self.label = "standard input" if path in STDIN else str(path)
        self.format: Format | None = None
        self.dialect: Dialect | None = None
        # The form of the first time, such as `epoch ms`.
        self.time_form = ""
        self._progress: Callable[[], float] = lambda: 0.0

    @property
    def kind(self) -> Kind:
        """The kind of the rows, as far as they have been read."""
        return self.dialect.kind if self.dialect else "ticks"

    @property
    def fraction(self) -> float:
        """Share of the file that has been read so far, from 0 to 1; 0 for a pipe."""
        return self._progress()

    def blocks(self) -> Generator[Block | Records | None]:
        """Yield the rows of the table from its start; None for a step that has come to none.

        No step takes long, whatever the file holds. Where a file is damaged the rows up to the
        damage are good, and the last block is a fault. Raises SourceError if it cannot be read.
        """
        line = 0
        try:
            for block in self._read():
                if block is not None and block.lines:
                    line = block.lines[-1]
                    self.time_form = self.time_form or _time_form(block, self.dialect)
                yield block
        except SourceError as error:
            if str(error).startswith(self.label):
                raise
            raise SourceError(f"{self.label}: {error}") from error
        # A broken download or a killed recorder.
        except DAMAGE as error:
            detail = f"cannot be read beyond this line: {error}"[:200]
            yield Records([line + 1], [InvalidTickError("file", detail, "row")])
        self._progress = lambda: 1.0

    def _read(self) -> Iterator[Block | Records | None]:
        if self.is_pipe:
            yield from self._of_pipe()
            return
        raw, size = open_raw(self.path, "r"), max(1, self.path.stat().st_size)
        with raw:
            self.format = sniffed(raw.read(_HEAD), whole=True)
            assert self.format is not None, "the whole of a file has a format"
            if self.format.style in ("parquet", "arrow", "arrow stream"):
                table = ArrowTable(self.path, self.format.style, self.options)
                self.dialect = table.dialect
                self._progress = partial(operator.attrgetter("fraction"), table)
                yield from table.blocks()
                return
            # By stored bytes, because the size of the text inside is not known.
            self._progress = lambda: 0.0 if raw.closed else raw.tell() / size
            raw.seek(0)
            if self.format.style == "zip":
                yield from self._of_zip(raw)
            else:
                yield from self._of_text(chunks_of(raw), self.format)

    def _of_pipe(self) -> Iterator[Block | Records | None]:
        chunks, head = pipe_chunks(self.path), b""
        for chunk in chunks:
            head += chunk
            if chunk and (found := sniffed(head)):
                self.format = found
                break
            yield None
        self.format = self.format or sniffed(head, whole=True)
        assert self.format is not None, "the whole of a pipe has a format"
        if not self.format.is_text:
            raise SourceError(f"{self.format.style.capitalize()} {_NEEDS_A_FILE}")
        yield from self._of_text(chain([head], chunks), self.format)

    def _of_zip(self, raw: BinaryIO) -> Iterator[Block | Records | None]:
        """Yield the rows of an archive's files, one after another by name."""
        try:
            archive = zipfile.ZipFile(raw)
            names = _data_in(archive.namelist())
            self._choose_symbol(names)
            for name in names:
                with archive.open(name) as member:
                    head = member.read(_HEAD)
                    inside = sniffed(head, whole=True)
                    assert inside is not None, "the whole of a file has a format"
                    if not inside.is_text:
                        raise SourceError(
                            f"{name}: {inside.style} inside an archive; unpack it first"
                        )
                    self.format = Format(inside.style, ".zip")
                    rest = iter(partial(member.read, CHUNK), b"")
                    yield from self._of_text(chain([head], rest), inside)
        # An encrypted archive is a RuntimeError.
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise EOFError(str(error)) from error

    def _choose_symbol(self, members: Sequence[str]) -> None:
        """Take the pair of an archive's files where the rows have the symbol of the name."""
        pairs = {pair_in_name(Path(name).name) for name in members}
        if not self.options.is_named or pairs == {None}:
            return
        if len(pairs) > 1:
            held = ", ".join(members[:3])
            raise SourceError(f"holds files of several symbols ({held} …): unpack it to a folder")
        self.options = replace(self.options, symbol=pairs.pop(), is_of_pair=True)

    def _of_text(self, chunks: Iterable[bytes], style: Format) -> Iterator[Block | Records | None]:
        text = as_utf8(inflated(chunks, style.compression))
        if style.style == "csv":
            yield from self._of_csv(line_blocks(text))
            return
        records = records_of_lines(line_blocks(text))
        for found in records_of_array(text) if style.style == "array" else records:
            if not found.lines:
                yield None
                continue
            if self.dialect is None:
                self.dialect = self._dialect_of(found)
            arrays = [isinstance(record, list) for record in found.found]
            yield self._table_of(found) if any(arrays) else found

    def _of_csv(self, blocks: Iterator[bytes]) -> Iterator[Block | Records | None]:
        csv = CsvTable(DialectFinder(self.options))
        for lines in blocks:
            got = csv.read(lines)
            self.dialect = csv.dialect
            yield got
        csv.end()

    def _dialect_of(self, records: Records) -> Dialect | None:
        """Return the names of the first object, or the layout of the first array."""
        for record in records.found:
            if isinstance(record, dict):
                # A venue's message may have letters that are also those of bars.
                names: Sequence[str] = tuple(record) if "e" not in record else ()
                return Dialect.of(names)
            if isinstance(record, list):
                cells = [str(cell) for cell in record]
                names = self.options.columns or layout_of(cells, is_of_pair=self.options.is_of_pair)
                if not names or len(names) > len(cells):
                    raise SourceError(
                        f"is an array of arrays of {len(cells)} values, which have no names; "
                        + GIVE_NAMES
                    )
                return Dialect.of(names)
        return None

    def _table_of(self, records: Records) -> Block:
        """Return arrays as the rows of a table."""
        assert self.dialect is not None, "an array has told it"
        width = len(self.dialect.names)
        rows: list[Sequence[object]] = []
        faults = {}
        for record in records.found:
            if isinstance(record, list) and len(record) >= width:
                rows.append(record[:width])
                continue
            detail = f"is no array of {width} values"
            fault = record if isinstance(record, InvalidTickError) else None
            faults[len(rows)] = fault or InvalidTickError("element", detail, "row")
            rows.append([None] * width)
        columns = dict(zip(self.dialect.names, map(list, zip(*rows, strict=True)), strict=True))
        return Block(records.lines, self.dialect.names, columns, faults)


def _data_in(members: Sequence[str]) -> Sequence[str]:
    """Return the files of an archive that are data, by name; raises SourceError without one."""
    shown = [
        name
        for name in sorted(members)
        if not name.endswith("/") and not name.startswith("__MACOSX") and "/." not in f"/{name}"
    ]
    data = [name for name in shown if is_data(Path(name))]
    # A text beside tables describes them.
    tables = [name for name in data if not name.lower().endswith(".txt")] or data
    if not tables:
        raise SourceError(f"the archive holds no recording{f': {shown[0]}' if shown else ''}")
    return tables


def _time_form(block: Block | Records, dialect: Dialect | None) -> str:
    """Return the form of the first time of some rows; empty if they have none."""
    name = dialect.fields.get("time") if dialect else None
    if name is None:
        return ""
    if isinstance(block, Records):
        values = [record.get(name) for record in block.found if isinstance(record, dict)]
        return time_form(next((value for value in values if value is not None), None))
    column = block.columns[name]
    if not isinstance(column, list) and str(column.type).startswith("timestamp"):
        return str(column.type)
    return time_form(next((value for value in values_of(column[:100]) if value is not None), None))
