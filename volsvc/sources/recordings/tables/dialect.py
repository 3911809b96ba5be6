"""The dialect of a CSV file: separator, names of columns, and what stands above them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from volsvc.domain import InvalidTickError, SourceError
from volsvc.domain.records import columns_of, missing_column, plain_name
from volsvc.domain.texts import one_line
from volsvc.domain.times import parse_time
from volsvc.sources.recordings.tables.bar_columns import (
    are_bars,
    bar_columns_of,
    missing_bar_column,
)
from volsvc.sources.recordings.tables.options import RowOptions

SEPARATORS: Final = (",", ";", "\t", "|")
# Lines above the names of the columns: comments, addresses, titles.
MAX_PREAMBLE: Final = 32
# Numbers that use a comma have it here.
_DECIMALS: Final = frozenset(
    {"price", "best_bid", "best_ask", "size", "open", "high", "low", "close", "volume"}
)
Kind = Literal["ticks", "bars"]

# Columns of changes of an order book, whose prices are no trades: those of Tardis.
_OF_BOOKS: Final = frozenset({"issnapshot"})
_BAR: Final = ("open", "high", "low", "close")
# Files that venues publish without names of columns: Kraken's trades; Binance's aggregated trades
# of the spot market and of futures, and its trades of both; bars of Kraken and of Binance.
LAYOUTS: Final = (
    ("time", "price", "size"),
    ("trade_id", "price", "size", "first_id", "last_id", "time", "buyer_maker", "best_match"),
    ("trade_id", "price", "size", "first_id", "last_id", "time", "buyer_maker"),
    ("trade_id", "price", "size", "quote_size", "time", "buyer_maker", "best_match"),
    ("trade_id", "price", "size", "quote_size", "time", "buyer_maker"),
    ("time", *_BAR, "volume", "trades"),
    (
        *("time", *_BAR, "volume", "close_time", "quote_volume", "trades"),
        *("taker_volume", "taker_quote_volume", "ignore"),
    ),
)
GIVE_NAMES: Final = (
    "give them, such as --columns time,price,size or --columns time,open,high,low,close,volume "
    "(any name for the others)"
)
_NUMBERS: Final = ("price", *_BAR)


class Dialect(NamedTuple):
    """The separator of a CSV file, the names of its columns, and the column of each field.

    Rows may have `extra` cells after those with a name.
    """

    kind: Kind
    separator: str
    names: Sequence[str]
    fields: Mapping[str, str]
    extra: int = 0

    @classmethod
    def of(cls, names: Sequence[str], separator: str = "") -> Dialect:
        """Return the dialect of a table with columns of these names."""
        kind = kind_of(names)
        return cls(kind, separator, names, fields_of(kind, names))

    @property
    def decimals(self) -> frozenset[str]:
        """The fields with decimals, which may have a comma where it does not separate cells."""
        return _DECIMALS & self.fields.keys()


def kind_of(names: Sequence[str]) -> Kind:
    """Return what rows with these names of columns or fields are."""
    return "bars" if are_bars(names) else "ticks"


def fields_of(kind: Kind, names: Sequence[str]) -> Mapping[str, str]:
    """Return the name that holds each field of a tick or of a bar."""
    return bar_columns_of(names) if kind == "bars" else columns_of(names)


def lacking_column(kind: Kind, names: Sequence[str], symbol: str | None) -> str:
    """Return what is wrong if a needed field has no column among the names; else an empty text."""
    if kind == "bars":
        return missing_bar_column(names, symbol)
    return missing_column(names, symbol)


class DialectFinder:
    """Finds the dialect of a CSV file from its first lines."""

    def __init__(self, options: RowOptions) -> None:
        self._symbol = options.symbol
        self._given = options.columns
        self._separators: Sequence[str] = SEPARATORS
        self._preamble = 0
        self._above = ""
        self._is_of_pair = options.is_of_pair
        # What is wrong with the line that looked most like names.
        self.fault = ""

    def look(self, line: str) -> tuple[Dialect | None, bool]:
        """Return the dialect if a line tells it, and whether the line is a row itself.

        Raises SourceError if the file has no names of columns and is in no known layout.
        """
        text = line.strip()
        if text[:4].lower() == "sep=" and len(text) == 5:
            self._separators = (text[4],)
            return None, False
        is_text = bool(text) and not text.startswith("#")
        if self._given and is_text:
            return self._of_given(text), True
        is_data = is_text and _is_data(text)
        if text and not self._given:
            if dialect := self._of_names(text.lstrip("# "), may_fail=not is_data):
                return dialect, False
            if is_data:
                return self._of_layout(text), True
        self._above = text if is_text else self._above
        self._preamble += is_text
        if self._preamble > MAX_PREAMBLE:
            raise SourceError(self.fault)
        return None, False

    def _of_given(self, text: str) -> Dialect:
        separator = max(self._separators, key=text.count)
        kind = kind_of(self._given)
        if lacking := lacking_column(kind, self._given, self._symbol):
            raise SourceError(f"--columns: {lacking}")
        cells = len(cells_of(text, separator))
        if cells != len(self._given):
            raise SourceError(
                f"--columns: names {len(self._given)} columns, but the first row has {cells} cells"
            )
        return Dialect.of(self._given, separator)

    def _of_names(self, text: str, *, may_fail: bool) -> Dialect | None:
        for separator in sorted(self._separators, key=text.count, reverse=True):
            names = _cells_or_none(text, separator)
            if names is None:
                continue
            kind = kind_of(names)
            lacking = lacking_column(kind, names, self._symbol)
            if not lacking and _OF_BOOKS & set(map(plain_name, names)):
                raise SourceError("holds changes of an order book, and no ticks")
            if not lacking:
                dialect = Dialect.of(names, separator)
                _check_unique(dialect)
                return dialect
            if may_fail and (not self.fault or fields_of(kind, names)):
                self.fault = lacking
                break
        return None

    def _of_layout(self, text: str) -> Dialect:
        for separator in self._separators:
            cells = cells_of(text, separator)
            if names := layout_of(cells, is_of_pair=self._is_of_pair):
                above = _cells_or_none(self._above, separator) or []
                if len(above) == len(cells):
                    # Names that are not known: the file is not what it looks like without them.
                    kind = kind_of(above)
                    raise SourceError(lacking_column(kind, above, self._symbol) or self.fault)
                kind = kind_of(names)
                if lacking := lacking_column(kind, names, self._symbol):
                    raise SourceError(lacking)
                return Dialect.of(names, separator)
        if self.fault:
            raise SourceError(self.fault)
        raise SourceError(
            f"has no names of columns: its first line is {one_line(text, 60)}; write the names "
            f"above it, or {GIVE_NAMES}"
        )


def layout_of(cells: Sequence[str], *, is_of_pair: bool) -> Sequence[str]:
    """Return the names of the columns of a row that venues publish without them; else nothing.

    Three numbers may be anything, unless the file has the name of a pair, as Kraken's have.
    """
    for names in LAYOUTS:
        if len(names) == len(cells) and _fits(dict(zip(names, cells, strict=True))):
            return names if len(names) > len(LAYOUTS[0]) or is_of_pair else ()
    return ()


def _check_unique(dialect: Dialect) -> None:
    names = list(dialect.names)
    twice = next((name for name in dialect.fields.values() if names.count(name) > 1), None)
    if twice is not None:
        raise SourceError(
            f"has two columns of the name {one_line(twice, 40)!r}: which one is meant?"
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
    prices = (row[name] for name in _NUMBERS if name in row)
    return all(map(_is_number, prices)) and all(t.lower() in ("true", "false") for t in truths)
