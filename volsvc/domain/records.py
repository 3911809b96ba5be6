"""Conversion of records of files and feeds to ticks: aliases, nesting, validation.

CSV rows, NDJSON lines and records of the topic all go through `tick_from_fields`, so that they
share one definition of a valid tick.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from volsvc.domain.errors import InvalidTickError, NotATickError, SourceError
from volsvc.domain.numbers import float_of, int_of
from volsvc.domain.texts import one_line, plain_text, shown
from volsvc.domain.tick import Tick
from volsvc.domain.times import parse_time

# Accepted names of each field, the preferred one first.
ALIASES: Mapping[str, tuple[str, ...]] = {
    # The exchange's own time comes before the collector's.
    "time": (
        "time",
        "ws_timestamp",
        "exchange_time",
        "timestamp",
        "ts",
        "date",
        "datetime",
        "received_at",
        "timestamp_captured",
    ),
    "symbol": ("symbol", "product_id", "pair", "product", "instrument"),
    "price": ("price", "last_price", "last", "trade_price"),
    "best_bid": ("best_bid", "bid", "bid_price"),
    "best_ask": ("best_ask", "ask", "ask_price"),
    "size": ("size", "last_size", "volume", "qty", "quantity", "amount"),
    "side": ("side",),
    "trade_id": ("trade_id", "tradeId", "tid"),
    "sequence": ("sequence", "sequence_num", "seq"),
}

_NESTED = ("raw", "raw_message")
_TICK_TYPES = frozenset({"", "ticker", "match", "last_match", "trade", "snapshot", "update"})
# A price above this, or below its inverse, is in a wrong unit or from a broken feed.
MAX_PRICE = 1e15
# Characters of the name of a source; the rest of a longer one is cut off.
MAX_SOURCE = 64
_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")


def is_symbol(text: str) -> bool:
    """Return True if the text can be the name of a symbol."""
    return _SYMBOL.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a table that hold the fields of a tick."""

    columns: Mapping[str, str]
    default_symbol: str | None = None

    @classmethod
    def of_columns(cls, names: Iterable[str], default_symbol: str | None = None) -> Schema:
        """Match column names, regardless of case, with the fields of a tick.

        Raises SourceError if a required column is missing; the text lists the accepted names.
        """
        known = {name.strip().lower(): name for name in names}
        columns = {
            field: known[alias.lower()]
            for field, aliases in ALIASES.items()
            # Reversed, because the last one wins and the preferred name stands first.
            for alias in reversed(aliases)
            if alias.lower() in known
        }
        needed = ["time", "price"] + ([] if default_symbol else ["symbol"])
        for field in needed:
            if field not in columns:
                raise SourceError(
                    f"missing column {field!r} (accepted names: {', '.join(ALIASES[field])}; "
                    f"found: {one_line(', '.join(known.values()), 200) or 'none'})"
                )
        return cls(columns, default_symbol)

    def tick(self, row: Mapping[str, Any], source: str) -> Tick:
        """Return the tick in a row of the table. Raises InvalidTickError if it is not valid."""
        fields = {f: row.get(c) for f, c in self.columns.items()}
        return tick_from_fields(fields, self.default_symbol, source)


def tick_from_record(
    record: Mapping[str, Any], *, default_symbol: str | None = None, source: str = ""
) -> Tick:
    """Return the tick in a JSON object that has the field names of any supported feed.

    Fields of a message nested under `raw`, as an object or as JSON text, are used as well.
    Raises NotATickError for a control message and InvalidTickError for an invalid tick.
    """
    merged = _flatten(record)
    kind = merged.get("type") or ""
    if not isinstance(kind, str) or kind not in _TICK_TYPES:
        raise NotATickError(f"a message of type {shown(kind, 40)} carries no tick")
    fields = {
        field: next((merged[a] for a in aliases if merged.get(a) is not None), None)
        for field, aliases in ALIASES.items()
    }
    origin = plain_text(merged.get("source") or source, MAX_SOURCE)
    return tick_from_fields(fields, default_symbol, origin)


def _flatten(record: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in _NESTED:
        inner = record.get(name)
        if isinstance(inner, str):
            try:
                inner = json.loads(inner)
            except (ValueError, RecursionError) as error:
                raise InvalidTickError(name, "is not valid JSON", "json") from error
        if isinstance(inner, Mapping):
            return {**inner, **record}
    return record


def tick_from_fields(fields: Mapping[str, Any], default_symbol: str | None, source: str) -> Tick:
    """Return the tick with the given fields, which have the preferred names.

    Raises InvalidTickError for the first invalid field.
    """
    return Tick(
        symbol=_symbol(fields.get("symbol"), default_symbol),
        time_ns=_time(fields.get("time")),
        price=_price(fields.get("price")),
        best_bid=_quote("best_bid", fields.get("best_bid")),
        best_ask=_quote("best_ask", fields.get("best_ask")),
        size=_size(fields.get("size")),
        side=_side(fields.get("side")),
        trade_id=_identifier("trade_id", fields.get("trade_id"), absent_zero=True),
        sequence=_identifier("sequence", fields.get("sequence"), absent_zero=False),
        source=source,
    )


def _symbol(value: object, default: str | None) -> str:
    if value is None or value == "":
        if default is None:
            raise InvalidTickError("symbol", "is missing", "symbol")
        return default
    text = value.strip() if isinstance(value, str) else ""
    if not is_symbol(text):
        raise InvalidTickError("symbol", f"{shown(value)} is not a symbol", "symbol")
    return text


def _time(value: object) -> int:
    if value is None or value == "":
        raise InvalidTickError("time", "is missing", "time")
    if not isinstance(value, (str, int, float)):
        raise InvalidTickError("time", f"{shown(value)} is not a time", "time")
    try:
        return parse_time(value)
    except (ValueError, OverflowError) as error:
        raise InvalidTickError("time", str(error)[:120], "time") from error


def _reason(field: str) -> str:
    return "quote" if field in ("best_bid", "best_ask") else field


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidTickError(field, f"{shown(value)} is not a number", _reason(field))
    try:
        number = float_of(value) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError) as error:
        raise InvalidTickError(field, f"{shown(value)} is not a number", _reason(field)) from error
    if not math.isfinite(number):
        raise InvalidTickError(field, f"{shown(value)} is not finite", _reason(field))
    return number


def _price(value: object) -> float:
    if value is None or value == "":
        raise InvalidTickError("price", "is missing", "price")
    number = _number("price", value)
    if number <= 0:
        raise InvalidTickError("price", f"{shown(value)} is not positive", "price")
    return _in_range("price", number)


def _in_range(field: str, price: float) -> float:
    if not 1 / MAX_PRICE <= price <= MAX_PRICE:
        raise InvalidTickError(field, f"{price!r} is out of range", _reason(field))
    return price


def _quote(field: str, value: object) -> float | None:
    # Venues send an empty text or 0 for an empty side of the book.
    if value is None or value == "":
        return None
    number = _number(field, value)
    if number < 0:
        raise InvalidTickError(field, f"{shown(value)} is negative", "quote")
    return _in_range(field, number) if number else None


def _size(value: object) -> float | None:
    if value is None or value == "":
        return None
    number = _number("size", value)
    if number < 0:
        raise InvalidTickError("size", f"{shown(value)} is negative", "size")
    return number


def _side(value: object) -> str | None:
    side = value.strip().lower() if isinstance(value, str) else None
    return side if side in ("buy", "sell") else None


def _identifier(field: str, value: object, *, absent_zero: bool) -> int | None:
    # A trade id of 0 means that the venue sends none; a sequence may start at 0.
    if value is None or value == "":
        return None
    number: object
    try:
        number = int_of(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(value, bool) or not 0 <= number < 2**63:
        raise InvalidTickError(field, f"{shown(value)} is not a whole number", "id")
    return None if absent_zero and number == 0 else number
