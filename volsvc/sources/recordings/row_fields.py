"""Symbols and times of the rows of a table, which ticks and bars have alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Final

import numpy as np

from volsvc.domain import fields
from volsvc.domain.records import pair_of
from volsvc.sources.recordings.symbols import Exchanges
from volsvc.sources.recordings.tables.columns import (
    Coded,
    Column,
    Faults,
    Times,
    mapped_once,
    times,
    values_of,
)
from volsvc.sources.recordings.tables.options import RowOptions

_CLOCK: Final = re.compile(r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?|\d{6}", re.ASCII)


def symbols_of(
    column: Mapping[str, Column],
    rows: int,
    options: RowOptions,
    exchanges: Exchanges,
    faults: Faults,
) -> Coded[str]:
    """Return the symbol of each row, empty where `faults` has the error; `column` is by field."""
    # In a column of symbols an empty one is a fault, and no symbol of the file's name.
    default = None if options.is_named else options.symbol
    parse = partial(fields.symbol_of, default=default)
    if "symbol" in column:
        symbols = mapped_once(column["symbol"], parse, faults, "")
    elif "base" in column and "quote" in column:
        pairs = zip(values_of(column["base"]), values_of(column["quote"]), strict=True)
        symbols = mapped_once([pair_of(*pair) for pair in pairs], parse, faults, "")
    elif "base" in column:
        symbols = mapped_once(column["base"], parse, faults, "")
    elif options.symbol is not None:
        symbols = Coded([options.symbol], np.zeros(rows, np.int64))
    else:
        symbols = mapped_once([None] * rows, parse, faults, "")
    if "exchange" in column:
        return exchanges.names(symbols, mapped_once(column["exchange"], _name_of, {}, ""))
    return symbols


def _name_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def times_of(column: Mapping[str, Column], rows: int, options: RowOptions, faults: Faults) -> Times:
    """Return the time of each row in ns since the epoch, 0 where `faults` has the error."""
    latest_ns, time_format = options.latest_ns, options.time_format
    parse = partial(fields.time_of, latest_ns=latest_ns, time_format=time_format)
    held = column.get("time", [None] * rows)
    if "date" in column:
        held = _with_days(held, column["date"])
    return times(held, parse, faults, is_plain=not time_format, latest_ns=latest_ns)


def _with_days(clocks: Column, days: Column) -> Column:
    """Return times of day with their days before them; other times as they are."""
    listed = values_of(clocks)
    first = next((clock for clock in listed if clock), None)
    if not isinstance(first, str) or _CLOCK.fullmatch(first) is None:
        return clocks
    return [f"{day} {clock}" for day, clock in zip(values_of(days), listed, strict=True)]
