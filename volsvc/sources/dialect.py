"""The dialect of a CSV file: separator, names of columns, and what stands above them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from volsvc.domain import InvalidTickError, Schema, SourceError, Tick
from volsvc.domain.records import missing_column
from volsvc.domain.texts import one_line
from volsvc.domain.times import parse_time

SEPARATORS: Final = (",", ";", "\t", "|")
# Lines above the names of the columns: comments, addresses, titles.
MAX_PREAMBLE: Final = 32
# Numbers that use a comma have it here.
_DECIMALS: Final = ("price", "best_bid", "best_ask", "size")
_BARS: Final = frozenset({"open", "high", "low", "close"})

# Files that venues publish without names of columns: Kraken's trades; Binance's aggregated trades
# of the spot market and of futures, and its trades of both.
LAYOUTS: Final = (
    ("time", "price", "size"),
    ("trade_id", "price", "size", "first_id", "last_id", "time", "buyer_maker", "best_match"),
    ("trade_id", "price", "size", "first_id", "last_id", "time", "buyer_maker"),
    ("trade_id", "price", "size", "quote_size", "time", "buyer_maker", "best_match"),
    ("trade_id", "price", "size", "quote_size", "time", "buyer_maker"),
)
# The numbers of columns of bars without names: Kraken's, and Binance's.
_BAR_COLUMNS: Final = (7, 12)


class Dialect(NamedTuple):
    """The separator, the names of columns and the fields of a CSV file."""

    separator: str
    names: Sequence[str]
    schema: Schema

    def tick(self, line: str) -> Tick:
        """Return the tick in a line; raises InvalidTickError."""
        cells = cells_of(line, self.separator)
        row = dict(zip(self.names, cells, strict=False))
        if self.separator != ",":
            for column in map(self.schema.columns.get, _DECIMALS):
                if column is not None and column in row:
                    row[column] = row[column].replace(",", ".")
        tick = self.schema.tick(row, "csv")
        # A row that a crash cut short may end inside a number, which would be a wrong price.
        if len(cells) < len(self.names):
            raise InvalidTickError("row", f"has {len(cells)} cells, not {len(self.names)}", "row")
        return tick


class CsvLines:
    """Reads the lines of one CSV file, from its first one on; its dialect is found on the way."""

    def __init__(self, default_symbol: str | None) -> None:
        self._default_symbol = default_symbol
        self._separators: Sequence[str] = SEPARATORS
        self._dialect: Dialect | None = None
        self._preamble = 0
        # What is wrong with the line that looked most like names.
        self._fault = ""

    def tick(self, line: str) -> Tick | None:
        """Return the tick in the next line; None for the names of columns and what is above them.

        Raises InvalidTickError for a row that is not a tick, and SourceError if the file has no
        names and is in no known layout.
        """
        if self._dialect is None:
            self._dialect, is_row = self._look(line.strip())
            if self._dialect is None or not is_row:
                return None
        return self._dialect.tick(line)

    def end(self) -> None:
        """Raise SourceError if no line held the names of columns."""
        if self._dialect is None:
            raise SourceError(self._fault or "is empty")

    def _look(self, text: str) -> tuple[Dialect | None, bool]:
        """Return the dialect if a line tells it, and whether the line is a row itself."""
        if text[:4].lower() == "sep=" and len(text) == 5:
            self._separators = (text[4],)
            return None, False
        is_data = not text.startswith("#") and _is_data(text)
        if dialect := self._of_names(text.lstrip("# "), may_fail=not is_data):
            return dialect, False
        if is_data:
            return self._of_layout(text), True
        self._preamble += 1
        if self._preamble > MAX_PREAMBLE:
            raise SourceError(self._fault)
        return None, False

    def _of_names(self, text: str, *, may_fail: bool) -> Dialect | None:
        for separator in sorted(self._separators, key=text.count, reverse=True):
            names = _cells_or_none(text, separator)
            if names is None:
                continue
            lacking = missing_column(names, self._default_symbol)
            if not lacking:
                return Dialect(separator, names, Schema.of_columns(names, self._default_symbol))
            if may_fail and (not self._fault or Schema.knows(names)):
                bars = {name.lower() for name in names} >= _BARS
                self._fault = "holds bars, not ticks; forecast reads them" if bars else lacking
                break
        return None

    def _of_layout(self, text: str) -> Dialect:
        for separator in self._separators:
            cells = cells_of(text, separator)
            for names in LAYOUTS:
                if len(names) == len(cells) and _fits(dict(zip(names, cells, strict=True))):
                    if self._default_symbol is None:
                        raise SourceError(missing_column(names, None))
                    return Dialect(separator, names, Schema.of_columns(names, self._default_symbol))
        if self._fault:
            raise SourceError(self._fault)
        bars = any(text.count(separator) + 1 in _BAR_COLUMNS for separator in self._separators)
        raise SourceError(
            f"has no names of columns{' (are these bars?)' if bars else ''}: its first line is "
            f"{one_line(text, 60)}; write the names above it"
        )


def cells_of(line: str, separator: str) -> list[str]:
    """Return the cells of a line of CSV, without blanks around them.

    A row never spans lines, so a quote that is not closed spoils its own line alone, for which
    InvalidTickError is raised.
    """
    if '"' not in line:
        cells = line.split(separator)
        return [cell.strip() for cell in cells] if " " in line or "\t" in line else cells
    if line.count('"') % 2:
        raise InvalidTickError("row", "has a quote that is not closed", "row")
    try:
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
    except csv.Error as error:
        raise InvalidTickError("row", str(error), "row") from error
    return [cell.strip() for cell in cells]


def _cells_or_none(text: str, separator: str) -> list[str] | None:
    try:
        return cells_of(text, separator)
    except InvalidTickError:
        return None


def _is_data(text: str) -> bool:
    """Return True for a line with a number in one of its first cells, as no name is one."""
    return any(_is_number(cell) for cell in _first_cells(text))


def _first_cells(text: str) -> Iterator[str]:
    for separator in SEPARATORS:
        yield from text.split(separator)[:3]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fits(row: Mapping[str, str]) -> bool:
    try:
        parse_time(row["time"])
    except ValueError:
        return False
    truths = (row[name] for name in ("buyer_maker", "best_match") if name in row)
    return _is_number(row["price"]) and all(truth.lower() in ("true", "false") for truth in truths)
