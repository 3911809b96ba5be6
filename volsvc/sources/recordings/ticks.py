"""Ticks of the rows of a table, column by column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from volsvc.domain import InvalidTickError, NotATickError
from volsvc.domain.fields import (
    MAX_PRICE,
    price_of,
    side_of,
    trade_id_of,
    whole_of,
)
from volsvc.domain.records import MAX_SOURCE, are_twins, columns_of, is_control
from volsvc.domain.texts import plain_text, shown
from volsvc.domain.tick_columns import NO_NUMBER, Integers, TickColumns, side_number
from volsvc.sources.recordings.row_fields import symbols_of, times_of
from volsvc.sources.recordings.symbols import NamesRead
from volsvc.sources.recordings.tables.blocks import Block
from volsvc.sources.recordings.tables.columns import (
    Coded,
    Column,
    Faults,
    Numbers,
    array_of,
    arrow_of,
    mapped_once,
    numbers,
    optional,
    values_of,
    whole_column,
)
from volsvc.sources.recordings.tables.json_lines import Records
from volsvc.sources.recordings.tables.options import RowOptions

# Names of records that are messages of venues, or hold one: those are read one by one.
_PECULIAR: Final = frozenset(
    {
        *("type", "channel", "events", "method", "success", "e", "s"),
        *("payload", "raw", "raw_message", "message", "msg", "data"),
    }
)
_OF_QUOTES: Final = ("best_bid", "best_ask")


class Ids(NamedTuple):
    """Trade ids and sequences by row, NO_NUMBER where there is none."""

    trade_ids: Integers
    sequences: Integers


class TickReader:
    """Reads ticks from the blocks of one table."""

    def __init__(self, options: RowOptions, names: NamesRead, source: str) -> None:
        self._options = options
        self._names = names
        self._source = source
        self._columns: Sequence[str] = ()
        self._fields: Mapping[str, str] = {}

    def _origin(self, value: object) -> str:
        return plain_text(value or self._source, MAX_SOURCE)

    def read(self, block: Block) -> tuple[TickColumns, Faults]:
        """Return the ticks of rows, and the errors of those that are none, by row."""
        if block.names != self._columns:
            self._columns, self._fields = block.names, columns_of(block.names)
        rows = len(block.lines)
        faults: Faults = dict(block.faults)
        column = {field: block.columns[name] for field, name in self._fields.items()}
        bid, ask = (_quotes(column.get(field), rows) for field in _OF_QUOTES)
        symbols = symbols_of(column, rows, self._options, self._names.exchanges, faults)
        time_ns = times_of(column, rows, self._options, faults)
        price = _prices(column.get("price"), bid, ask, faults)
        ids = _ids(column, rows)
        if "type" in column:
            _refuse_messages(column["type"], faults)
        size = numbers(column.get("size"), rows)
        size[size < 0] = np.nan
        sources = Coded([self._source], np.zeros(rows, np.int64))
        # That of a record of JSON names its origin; in other tables it may be anything.
        if self._source == "ndjson" and "source" in block.columns:
            sources = mapped_once(block.columns["source"], self._origin, {}, "")
        sides = np.zeros(rows, np.int64)
        if "side" in column:
            known = mapped_once(column["side"], lambda side: side_number(side_of(side)), {}, 0)
            sides = np.array(known.values)[known.codes]
        ticks = TickColumns(
            self._names.symbols.listed,
            self._names.sources.listed,
            self._names.symbols.numbers(symbols.values)[symbols.codes],
            time_ns,
            price,
            bid,
            ask,
            size,
            sides,
            ids.trade_ids,
            ids.sequences,
            self._names.sources.numbers(sources.values)[sources.codes],
        )
        return ticks, faults


def block_of_ticks(records: Records) -> Block | None:
    """Return records of ticks as columns; None if they are not all of one plain form.

    One by one they take several times as long.
    """
    first = records.found[0]
    if not isinstance(first, dict):
        return None
    names = tuple(first)
    if not _PECULIAR.isdisjoint(names) or are_twins(names):
        return None
    keys = first.keys()
    if any(not isinstance(one, dict) or one.keys() != keys for one in records.found):
        return None
    used = {*columns_of(names).values(), *(("source",) if "source" in first else ())}
    columns = {name: arrow_of([one[name] for one in records.found]) for name in used}  # type: ignore[index]
    return Block(records.lines, names, columns)


def _refuse_messages(column: Column, faults: dict[int, Any]) -> None:
    """Note the rows that are messages of a feed, or orders, of which a price is no trade."""
    kinds = mapped_once(column, lambda kind: kind if is_control(kind) else None, {}, None)
    if set(kinds.values) == {None}:
        return
    for row, kind in enumerate(kinds.by_row()):
        if kind is not None:
            faults[row] = NotATickError(f"a row of type {shown(kind, 40)} carries no tick")


def _quotes(column: Column | None, rows: int) -> Numbers:
    array = numbers(column, rows)
    array[~_are_prices(array)] = np.nan
    return array


def _are_prices(array: Numbers) -> Any:
    return (array >= 1 / MAX_PRICE) & (array <= MAX_PRICE)


def _prices(column: Column | None, bid: Numbers, ask: Numbers, faults: Faults) -> Numbers:
    array = numbers(column, len(bid))
    odd = np.flatnonzero(~_are_prices(array)).tolist()
    if column is None:
        # The price of quotes alone is their mid.
        array = (bid + ask) / 2
        odd = np.flatnonzero(np.isnan(array)).tolist()
    if not odd:
        return array
    values = [None] * len(bid) if column is None else values_of(column)
    bids, asks = optional(bid), optional(ask)
    for row in odd:
        try:
            array[row] = price_of(values[row], bids[row], asks[row])
        except InvalidTickError as error:
            faults.setdefault(row, error)
    return array


def _ids(column: Mapping[str, Column], rows: int) -> Ids:
    sequences = _whole_numbers(column.get("sequence"), rows)
    if "trade_id" not in column:
        return Ids(np.full(rows, NO_NUMBER), sequences)
    ids = column["trade_id"]
    whole = None if isinstance(ids, list) else whole_column(ids)
    # 0 means that the venue sends none; what is below it is no number of a trade.
    if whole is not None:
        found = array_of(whole, NO_NUMBER)
        if whole.null_count == np.count_nonzero(found <= 0):
            return Ids(found, sequences)
    parsed = list(map(trade_id_of, values_of(ids)))
    # An id that is no number tells trades apart, as a sequence does, and rises no more than that.
    opaque = _numbers_of([other for _, other in parsed])
    return Ids(
        _numbers_of([number for number, _ in parsed]),
        np.where(opaque == NO_NUMBER, sequences, opaque),
    )


def _whole_numbers(column: Column | None, rows: int) -> Integers:
    if column is None:
        return np.full(rows, NO_NUMBER)
    whole = None if isinstance(column, list) else whole_column(column)
    if whole is None:
        return _numbers_of(map(whole_of, values_of(column)))
    found: Integers = array_of(whole, NO_NUMBER)
    return np.maximum(found, NO_NUMBER)


def _numbers_of(values: Iterable[int | None]) -> Integers:
    return np.array([NO_NUMBER if value is None else value for value in values], np.int64)
