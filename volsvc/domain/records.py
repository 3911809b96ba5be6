"""Conversion of records of files and feeds to ticks: aliases, nesting, validation.

CSV rows, NDJSON lines and records of the topic all go through `tick_from_fields`, so that they
share one definition of a valid tick.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from volsvc.domain.errors import InvalidTickError, NotATickError, SourceError
from volsvc.domain.numbers import float_of
from volsvc.domain.texts import one_line, plain_text, shown
from volsvc.domain.tick import Tick
from volsvc.domain.times import parse_time

# Accepted names of each field, the preferred one first; letters may have any case.
ALIASES: Mapping[str, tuple[str, ...]] = {
    # The exchange's own time comes before the collector's.
    "time": (
        "time",
        "ws_timestamp",
        "exchange_time",
        "transact_time",
        "transaction_time",
        "trade_time",
        "created_time",
        "event_time",
        "timestamp",
        "ts",
        "unix",
        "datetime",
        "date_time",
        "date",
        "gmt time",
        "received_at",
        "receipt_timestamp",
        "local_timestamp",
        "timestamp_captured",
    ),
    "symbol": (
        "symbol",
        "product_id",
        "pair",
        "product",
        "instrument",
        "instrument_name",
        "instId",
        "market",
    ),
    "base": ("base", "base_currency", "base_asset"),
    "quote": ("quote", "quote_currency", "quote_asset"),
    "price": ("price", "last_price", "last", "trade_price"),
    "best_bid": ("best_bid", "bid", "bid_price", "best_bid_price"),
    "best_ask": ("best_ask", "ask", "ask_price", "best_ask_price"),
    "size": ("size", "last_size", "volume", "qty", "quantity", "amount"),
    "side": ("side",),
    "trade_id": ("trade_id", "tradeId", "tid", "agg_trade_id", "trdMatchID", "match_id", "id"),
    "sequence": ("sequence", "sequence_num", "seq", "update_id"),
}
_QUOTES = {"best_bid", "best_ask"}
# Both quotes stand for a price, and base and quote for a symbol.
_INSTEAD = {"price": ("best_bid", "best_ask"), "symbol": ("base", "quote")}

_NESTED = ("raw", "raw_message")
# Messages of feeds that have a time and a price, or nothing, and are no ticks. Any other type may
# be that of an order (`limit`) or of a trade.
_CONTROL_TYPES = frozenset(
    {
        *("subscribe", "subscribed", "subscription", "subscriptions", "unsubscribe"),
        *("heartbeat", "ping", "pong", "info", "status", "error", "welcome", "ack"),
        *("received", "open", "done", "change", "activate", "l2update", "auction", "rfq_match"),
    }
)
_TICK_TYPES = frozenset({"ticker", "match", "last_match", "trade", "snapshot", "update"})
# Keys of an object that are worth remembering: more or longer ones are no form that comes again.
_MAX_KEYS, _MAX_KEY_CHARACTERS = 64, 1_024
# Digits of a whole number before a fraction of zeros, as in 88000.0.
_WHOLE = re.compile(r"(\d{1,19})(?:\.0*)?", re.ASCII)
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
        given = list(names)
        if lacking := missing_column(given, default_symbol):
            raise SourceError(lacking)
        columns = {field: held[0] for field, held in _keys_of(given).items()}
        return cls(columns, default_symbol)

    @staticmethod
    def knows(names: Sequence[str]) -> bool:
        """Return True if one of the names is that of a field."""
        return bool(_keys_of(names))

    def tick(self, row: Mapping[str, Any], source: str) -> Tick:
        """Return the tick in a row of the table. Raises InvalidTickError if it is not valid."""
        fields = {f: row.get(c) for f, c in self.columns.items()}
        return tick_from_fields(fields, self.default_symbol, source)


def missing_column(names: Sequence[str], default_symbol: str | None = None) -> str:
    """Return what is wrong if a needed field has no column among the names; else an empty text."""
    found = _keys_of(names)
    for field in ("time", "price") if default_symbol else ("time", "price", "symbol"):
        instead = _INSTEAD.get(field, ())
        if field in found or (instead and set(instead) <= found.keys()):
            continue
        accepted = ", ".join(ALIASES[field]) + (f", or {' and '.join(instead)}" if instead else "")
        held = one_line(", ".join(name.strip() for name in names), 200) or "none"
        hint = "; or name one with source.default_symbol" if field == "symbol" else ""
        return f"missing column {field!r} (accepted names: {accepted}; found: {held}){hint}"
    return ""


def tick_from_record(
    record: Mapping[str, Any], *, default_symbol: str | None = None, source: str = ""
) -> Tick:
    """Return the tick in a JSON object that has the field names of any supported feed.

    Fields of a message nested under `raw`, as an object or as JSON text, are used as well.
    Raises NotATickError for a control message and InvalidTickError for an invalid tick.
    """
    merged = _flatten(record)
    kind = merged.get("type") or ""
    keys = _keys(merged)
    fields = {field: merged[names[0]] for field, names in keys.items()}
    for field, value in fields.items():
        if value is None and len(keys[field]) > 1:
            fields[field] = next((merged[k] for k in keys[field] if merged[k] is not None), None)
    if not isinstance(kind, str) or kind.lower() in _CONTROL_TYPES:
        raise NotATickError(f"a message of type {shown(kind, 40)} carries no tick")
    known = not kind or kind in _TICK_TYPES
    # Without its type such a record would be an invalid tick.
    if not known and not {"time", "price"} <= fields.keys() and not fields.keys() >= _QUOTES:
        raise NotATickError(f"a message of type {shown(kind, 40)} carries no tick")
    origin = plain_text(merged.get("source") or source, MAX_SOURCE)
    return tick_from_fields(fields, default_symbol, origin)


def _keys(record: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    names = tuple(record)
    if len(names) <= _MAX_KEYS and sum(map(len, names)) <= _MAX_KEY_CHARACTERS:
        return _remembered_keys_of(names)
    return _keys_of(names)


def _keys_of(names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the names that hold each field, the preferred one first."""
    known: dict[str, list[str]] = {}
    for name in names:
        known.setdefault(name.strip().lower(), []).append(name)
    found = {
        field: tuple(name for alias in aliases for name in known.get(alias.lower(), ()))
        for field, aliases in ALIASES.items()
    }
    return {field: held for field, held in found.items() if held}


_remembered_keys_of = lru_cache(maxsize=1_024)(_keys_of)


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

    Raises InvalidTickError if symbol, time or price is not valid. Another field that is not valid
    is None. The price of a record with quotes alone is their mid.
    """
    best_bid, best_ask = _quote(fields.get("best_bid")), _quote(fields.get("best_ask"))
    trade_id, opaque = _trade_id(fields.get("trade_id"))
    return Tick(
        symbol=_symbol(_name(fields), default_symbol),
        time_ns=_time(fields.get("time")),
        price=_price(fields.get("price"), best_bid, best_ask),
        best_bid=best_bid,
        best_ask=best_ask,
        size=_size(fields.get("size")),
        side=_side(fields.get("side")),
        trade_id=trade_id,
        # It tells trades apart, as a sequence does, and rises no more than that.
        sequence=_whole(fields.get("sequence")) if opaque is None else opaque,
        source=source,
    )


def _name(fields: Mapping[str, Any]) -> object:
    name = fields.get("symbol")
    if name is None and "base" in fields and "quote" in fields:
        base, quote = fields["base"], fields["quote"]
        if isinstance(base, str) and isinstance(quote, str) and base and quote:
            return f"{base.strip()}-{quote.strip()}"
    return name


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


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidTickError(field, f"{shown(value)} is not a number", field)
    try:
        number = float_of(value) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError) as error:
        raise InvalidTickError(field, f"{shown(value)} is not a number", field) from error
    if not math.isfinite(number):
        raise InvalidTickError(field, f"{shown(value)} is not finite", field)
    return number


def _price(value: object, bid: float | None, ask: float | None) -> float:
    if value is None or value == "":
        if bid is not None and ask is not None:
            return (bid + ask) / 2
        raise InvalidTickError("price", "is missing", "price")
    number = _number("price", value)
    if number <= 0:
        raise InvalidTickError("price", f"{shown(value)} is not positive", "price")
    if not _is_price(number):
        raise InvalidTickError("price", f"{number!r} is out of range", "price")
    return number


def _is_price(number: float) -> bool:
    return 1 / MAX_PRICE <= number <= MAX_PRICE


def _optional_number(value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        return _number("", value)
    except InvalidTickError:
        return None


def _quote(value: object) -> float | None:
    # Venues send an empty text or 0 for an empty side of the book.
    number = _optional_number(value)
    return number if number is not None and _is_price(number) else None


def _size(value: object) -> float | None:
    number = _optional_number(value)
    return number if number is not None and number >= 0 else None


def _side(value: object) -> str | None:
    side = value.strip().lower() if isinstance(value, str) else None
    return side if side in ("buy", "sell") else None


def _whole(value: object) -> int | None:
    """Return a whole number below 2**63, also of a text such as 88000.0; None for all else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    number: object = value
    if isinstance(value, str):
        # The second way is that of pandas' columns with gaps, and slower.
        plain = value.isascii() and value.isdigit() and len(value) < 20
        match = None if plain else _WHOLE.fullmatch(value.strip())
        number = int(value) if plain else match and int(match[1])
    return number if isinstance(number, int) and 0 <= number < 2**63 else None


def _trade_id(value: object) -> tuple[int | None, int | None]:
    """Return a trade's number, or else a number made of an id that is none, such as a UUID."""
    # 0 means that the venue sends none.
    if value is None or value in ("", 0, "0") or isinstance(value, bool | float):
        return _whole(value) or None, None
    number = _whole(value)
    if number is not None or not isinstance(value, str | int):
        return number or None, None
    digest = hashlib.blake2b(plain_text(value, 128).encode(), digest_size=8).digest()
    return None, int.from_bytes(digest) >> 1
