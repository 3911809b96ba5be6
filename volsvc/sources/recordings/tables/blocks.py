"""Tables of files in blocks of rows: CSV, Parquet, Arrow, and arrays of JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from volsvc.domain import InvalidTickError, SourceError
from volsvc.sources.recordings.tables.columns import Column, plain, with_decimal_points
from volsvc.sources.recordings.tables.dialect import Dialect, DialectFinder, cells_of
from volsvc.sources.recordings.tables.lines import BLOCK, MAX_LINE

# Bytes of lines that are not worth a table.
_SMALL: Final = 4_096


class Block(NamedTuple):
    """Rows of a table: the number of the line of each, the columns by name, and faults by row."""

    lines: Sequence[int]
    names: Sequence[str]
    columns: Mapping[str, Column]
    faults: Mapping[int, InvalidTickError] = {}


class CsvTable:
    """Reads the lines of one CSV file, from its first one on; its dialect is found on the way."""

    def __init__(self, finder: DialectFinder) -> None:
        self._finder = finder
        self.dialect: Dialect | None = None
        self._line = 0
        self._first = True

    def read(self, lines: bytes) -> Block | None:
        """Return the rows in some whole lines; None if there are none.

        Raises SourceError if the file has no names of columns and is in no known layout.
        """
        while lines and self.dialect is None:
            end = lines.find(b"\n") + 1 or lines.find(b"\r") + 1 or len(lines)
            self._line += 1
            self.dialect, is_row = self._finder.look(lines[:end].decode("utf-8", "replace"))
            if is_row:
                self._line -= 1
                break
            lines = lines[end:]
        if not lines or self.dialect is None:
            return None
        if self._first:
            self._first = False
            self.dialect = _with_extra(self.dialect, lines)
        block = self._plain(lines, self.dialect) or self._careful(lines, self.dialect)
        return block if len(block.lines) else None

    def end(self) -> None:
        """Raise SourceError if no line held the names of columns."""
        if self.dialect is None:
            raise SourceError(self._finder.fault or "is empty")

    def _plain(self, lines: bytes, dialect: Dialect) -> Block | None:
        """Return the rows of lines of which each is as it should be; None if they are not."""
        rows = lines.count(b"\n") + (not lines.endswith(b"\n"))
        # A line that is too long may be here only if there is more than a block.
        if len(lines) < _SMALL or len(lines) > BLOCK + MAX_LINE or not _are_quotes_plain(lines):
            return None
        read = _arrow_csv()
        table = None if read is None else read(lines, dialect)
        # Another number of rows: there are empty lines, or quotes that span lines.
        if table is None or len(table) != rows:
            return None
        columns = {name: plain(table[name]) for name in table.column_names}
        return self._block(range(self._line + 1, self._line + rows + 1), dialect, columns)

    def _careful(self, lines: bytes, dialect: Dialect) -> Block:
        """Return the rows of any lines, those with a fault too."""
        numbers: list[int] = []
        rows: list[list[str]] = []
        faults: dict[int, InvalidTickError] = {}
        first, width = self._line + 1, len(dialect.names)
        for number, line in enumerate(lines.splitlines(), first):
            if not line or line.isspace():
                continue
            try:
                cells = _cells(line, dialect)
            except InvalidTickError as error:
                faults[len(rows)] = error
                cells = [""] * width
            numbers.append(number)
            rows.append(cells)
        columns = dict(zip(dialect.names, map(list, zip(*rows, strict=True)), strict=True))
        block = self._block(numbers, dialect, columns if rows else {}, faults)
        self._line = first - 1 + len(lines.splitlines())
        return block

    def _block(
        self,
        numbers: Sequence[int],
        dialect: Dialect,
        columns: Mapping[str, Column],
        faults: Mapping[int, InvalidTickError] = {},
    ) -> Block:
        if numbers:
            self._line = numbers[-1]
        if dialect.separator != ",":
            held = {dialect.fields[field] for field in dialect.decimals}
            columns = {n: with_decimal_points(c) if n in held else c for n, c in columns.items()}
        return Block(numbers, dialect.names, columns, faults)


def _cells(line: bytes, dialect: Dialect) -> list[str]:
    """Return the cells that have names; raises InvalidTickError if there are fewer."""
    if len(line) > MAX_LINE:
        raise InvalidTickError("line", f"is longer than {MAX_LINE:,} bytes", "row")
    # A bad byte spoils its row, not the file.
    cells = cells_of(line.decode("utf-8", "replace"), dialect.separator)
    width = len(dialect.names)
    # A row that a crash cut short may end inside a number, which would be a wrong price.
    if len(cells) < width:
        raise InvalidTickError("row", f"has {len(cells)} cells, not {width}", "row")
    return cells[:width]


def _with_extra(dialect: Dialect, lines: bytes) -> Dialect:
    """Return a dialect with the cells that the first row has beyond the names."""
    first = lines.splitlines()[0].decode("utf-8", "replace")
    try:
        cells = len(cells_of(first, dialect.separator))
    except InvalidTickError:
        return dialect
    return dialect._replace(extra=max(0, cells - len(dialect.names)))


def _are_quotes_plain(lines: bytes) -> bool:
    """Return True if each line has its quotes in pairs, around whole cells as far as we can see."""
    if b'"' not in lines:
        return True
    if b'""' in lines or b' "' in lines or b"\\" in lines:
        return False
    return not any(line.count(b'"') % 2 for line in lines.split(b"\n"))


@cache
def _arrow_csv() -> Callable[[bytes, Dialect], Any] | None:
    """Return a function that reads lines of plain CSV as texts; None without Arrow."""
    try:
        import pyarrow as pa
        from pyarrow import csv
    except ImportError:
        return None

    def read(lines: bytes, dialect: Dialect) -> Any:
        used = sorted(set(dialect.fields.values()))
        try:
            return csv.read_csv(
                pa.BufferReader(lines),
                # One thread, because blocks are small and a daemon has other work.
                read_options=csv.ReadOptions(
                    use_threads=False,
                    column_names=[*dialect.names, *(f" {i}" for i in range(dialect.extra))],
                    block_size=2 * len(lines),
                ),
                parse_options=csv.ParseOptions(delimiter=dialect.separator),
                convert_options=csv.ConvertOptions(
                    column_types=dict.fromkeys(used, pa.string()),
                    include_columns=used,
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowInvalid:
            return None

    return read
