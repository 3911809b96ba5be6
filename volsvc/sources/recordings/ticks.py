"""Ticks of the rows of a table, column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from volsvc.domain import InvalidTickError, NotATickError, Tick
from volsvc.domain.fields import (
    MAX_PRICE,
    price_of,
    side_of,
    trade_id_of,
    whole_of,
)
from volsvc.domain.records import MAX_SOURCE, are_twins, columns_of, is_control
from volsvc.domain.texts import plain_text, shown
from volsvc.sources.recordings.row_fields import symbols_of, times_of
from volsvc.sources.recordings.symbols import Exchanges
from volsvc.sources.recordings.tables.blocks import Block
from volsvc.sources.recordings.tables.columns import (
    Column,
    Faults,
    Numbers,
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
    """Trade ids and sequences by row."""

    trade_ids: Sequence[int | None]
    sequences: Sequence[int | None]


class TickReader:
    """Reads ticks from the blocks of one table."""

    def __init__(self, options: RowOptions, exchanges: Exchanges, source: str) -> None:
        self._options = options
        self._exchanges = exchanges
        self._source = source
        self._names: Sequence[str] = ()
        self._fields: Mapping[str, str] = {}

    def _origin(self, value: object) -> str:
        return plain_text(value or self._source, MAX_SOURCE)

    def read(self, block: Block) -> list[Tick | InvalidTickError | NotATickError]:
        """Return the tick or the error of each row."""
        if block.names != self._names:
            self._names, self._fields = block.names, columns_of(block.names)
        rows = len(block.lines)
        faults: Faults = dict(block.faults)
        column = {field: block.columns[name] for field, name in self._fields.items()}
        bid, ask = (_quotes(column.get(field), rows) for field in _OF_QUOTES)
        symbols = symbols_of(column, rows, self._options, self._exchanges, faults)
        time_ns = times_of(column, rows, self._options, faults)
        price = _prices(column.get("price"), bid, ask, faults)
        ids = _ids(column, rows)
        if "type" in column:
            _refuse_messages(column["type"], faults)
        size = numbers(column.get("size"), rows)
        size[size < 0] = np.nan
        sources = [self._source] * rows
        # That of a record of JSON names its origin; in other tables it may be anything.
        if self._source == "ndjson" and "source" in block.columns:
            sources = mapped_once(block.columns["source"], self._origin, {}, "")
        sides: list[str | None] = [None] * rows
        if "side" in column:
            sides = mapped_once(column["side"], side_of, {}, None)
        found: list[Any] = list(
            map(
                Tick,
                symbols,
                time_ns.tolist(),
                price.tolist(),
                optional(bid),
                optional(ask),
                optional(size),
                sides,
                ids.trade_ids,
                ids.sequences,
                sources,
            )
        )
        for row, error in faults.items():
            found[row] = error
        return found


def columns_of_ticks(records: Records) -> Block | None:
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
    for row, kind in enumerate(kinds):
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
    sequences: list[int | None] = [None] * rows
    if "sequence" in column:
        sequences = list(map(whole_of, values_of(column["sequence"])))
    if "trade_id" not in column:
        return Ids([None] * rows, sequences)
    ids = column["trade_id"]
    whole = None if isinstance(ids, list) else whole_column(ids)
    # 0 means that the venue sends none; what is below it is no number of a trade.
    if whole is not None and whole.fill_null(1).to_numpy().min(initial=1) > 0:
        listed: list[int | None] = (
            whole.to_pylist() if whole.null_count else whole.to_numpy().tolist()
        )
        return Ids(listed, sequences)
    parsed = list(map(trade_id_of, values_of(ids)))
    # An id that is no number tells trades apart, as a sequence does, and rises no more than that.
    opaque = [known[1] for known in parsed]
    told = [o if o is not None else s for o, s in zip(opaque, sequences, strict=True)]
    return Ids([known[0] for known in parsed], told)
