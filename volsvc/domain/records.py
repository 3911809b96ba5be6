"""Conversion of records of files and feeds to ticks: aliases, nesting, validation.

CSV rows, NDJSON lines and records of the topic all go through `tick_from_fields`, so that they
share one definition of a valid tick.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from volsvc.domain.errors import InvalidTickError, NotATickError
from volsvc.domain.fields import (
    price_of,
    quote_of,
    side_of,
    size_of,
    symbol_of,
    time_of,
    trade_id_of,
    whole_of,
)
from volsvc.domain.texts import one_line, plain_text, shown
from volsvc.domain.tick import Tick

# Accepted names of each field, the preferred one first. Case and marks between words do not matter.
ALIASES: Mapping[str, tuple[str, ...]] = {
    # The exchange's own time comes before the collector's.
    "time": (
        "time",
        "ws_timestamp",
        "exchange_time",
        "transact_time",
        "transaction_time",
        "trade_time",
        "trade_ms",
        "created_time",
        "time_exchange",
        "event_time",
        "event_ms",
        "microtimestamp",
        "ts_event",
        "timestamp",
        "ts",
        "unix",
        "datetime",
        "date_time",
        "date",
        "gmt time",
        "sip_timestamp",
        "participant_timestamp",
        "received_at",
        "receipt_timestamp",
        "local_timestamp",
        "local_ns",
        "timestamp_captured",
        # pandas' name of an index that has none, in Parquet.
        "__index_level_0__",
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
        "ticker",
        "currency_pair",
        "contract",
        "symbol_id",
        "asset",
        "coin",
        "code",
    ),
    # `market` is an exchange beside a symbol.
    "exchange": (
        *("exchange", "exch", "venue", "exchange_id", "exchange_name", "venue_name", "market"),
    ),
    "base": ("base", "base_currency", "base_asset"),
    "quote": ("quote", "quote_currency", "quote_asset"),
    "price": ("price", "last_price", "last", "trade_price", "px"),
    "best_bid": ("best_bid", "bid", "bid_price", "best_bid_price", "bid_px"),
    "best_ask": ("best_ask", "ask", "ask_price", "best_ask_price", "ask_px"),
    "size": ("size", "last_size", "volume", "qty", "quantity", "amount", "sz"),
    "side": ("side", "taker_side", "direction"),
    # Beside a time of day.
    "date": ("date",),
    "type": ("type",),
    "trade_id": ("trade_id", "tid", "agg_trade_id", "trdMatchID", "match_id", "id"),
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
# Characters of the name of a source; the rest of a longer one is cut off.
MAX_SOURCE = 64


def columns_of(names: Sequence[str]) -> Mapping[str, str]:
    """Return the name that holds each field among the names of a table's columns."""
    return {field: held[0] for field, held in _keys(names).items()}


def are_twins(names: Sequence[str]) -> bool:
    """Return whether some field is held by several of the names."""
    keys = _keys(names)
    return len({name for held in keys.values() for name in held}) > len(keys)


def missing_column(names: Sequence[str], default_symbol: str | None = None) -> str:
    """Return what is wrong if a needed field has no column among the names; else an empty text."""
    found = _keys_of(names)
    for field in ("time", "price") if default_symbol else ("time", "price", "symbol"):
        instead = _INSTEAD.get(field, ())
        if field in found or (instead and set(instead) <= found.keys()):
            continue
        accepted = some_names(ALIASES[field]) + (f", or {' and '.join(instead)}" if instead else "")
        held = one_line(", ".join(name.strip() for name in names), 200) or "none"
        hint = "; or name one with source.default_symbol" if field == "symbol" else ""
        return f"missing column {field!r} (accepted names: {accepted}; found: {held}){hint}"
    return ""


def some_names(names: Sequence[str]) -> str:
    """Return the first names of a long list for a message."""
    first = ", ".join(names[:8])
    return f"{first} and others in docs/inputs.md" if len(names) > 8 else first


def tick_from_record(
    record: Mapping[str, Any],
    *,
    default_symbol: str | None = None,
    source: str = "",
    time: Callable[[object], int] = time_of,
) -> Tick:
    """Return the tick in a JSON object that has the field names of any supported feed.

    Fields of a message nested under `raw`, as an object or as JSON text, are used as well. `time`
    parses its time.
    Raises NotATickError for a control message and InvalidTickError for an invalid tick.
    """
    merged = _flatten(record)
    kind = merged.get("type") or ""
    keys = _keys(merged)
    fields = {field: merged[names[0]] for field, names in keys.items()}
    for field, value in fields.items():
        if value is None and len(keys[field]) > 1:
            fields[field] = next((merged[k] for k in keys[field] if merged[k] is not None), None)
    if not isinstance(kind, str) or is_control(kind):
        raise NotATickError(f"a message of type {shown(kind, 40)} carries no tick")
    known = not kind or kind in _TICK_TYPES
    # Without its type such a record would be an invalid tick.
    if not known and not {"time", "price"} <= fields.keys() and not fields.keys() >= _QUOTES:
        raise NotATickError(f"a message of type {shown(kind, 40)} carries no tick")
    origin = plain_text(merged.get("source") or source, MAX_SOURCE)
    return tick_from_fields(fields, default_symbol, origin, time)


def has_field(record: Mapping[str, Any], field: str) -> bool:
    """Return whether a record has a name of a field, with a value or without one."""
    return field in _keys(record)


def field_of(record: Mapping[str, Any], field: str) -> object:
    """Return what a record of any supported feed holds for a field; None if it has none."""
    return next((record[name] for name in _keys(record).get(field, ())), None)


def _keys(record: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    names = tuple(record)
    if len(names) <= _MAX_KEYS and sum(map(len, names)) <= _MAX_KEY_CHARACTERS:
        return _remembered_keys_of(names)
    return _keys_of(names)


def _keys_of(names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the names that hold each field, the preferred one first."""
    known: dict[str, list[str]] = {}
    for name in names:
        known.setdefault(plain_name(name), []).append(name)
    found = {
        field: tuple(name for alias in aliases for name in known.get(plain_name(alias), ()))
        for field, aliases in ALIASES.items()
    }
    # One column is not both: a symbol comes before its exchange, and a time before its day.
    for field, other in (("exchange", "symbol"), ("date", "time")):
        found[field] = tuple(name for name in found[field] if name not in found[other][:1])
    return {field: held for field, held in found.items() if held}


@lru_cache(maxsize=4_096)
def plain_name(name: str) -> str:
    """Return the letters and digits of a name: bid_price, bidPrice and Bid Price are one."""
    # OKX writes each name in English and in Chinese: price/价格.
    english, _, other = name.partition("/")
    name = name if other.isascii() else english
    return "".join(filter(str.isalnum, name)).lower()


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


def tick_from_fields(
    fields: Mapping[str, Any],
    default_symbol: str | None,
    source: str,
    time: Callable[[object], int] = time_of,
) -> Tick:
    """Return the tick with the given fields, which have the preferred names.

    Raises InvalidTickError if symbol, time or price is not valid. Another field that is not valid
    is None. The price of a record with quotes alone is their mid.
    """
    best_bid, best_ask = quote_of(fields.get("best_bid")), quote_of(fields.get("best_ask"))
    trade_id, opaque = trade_id_of(fields.get("trade_id"))
    return Tick(
        symbol=symbol_of(_name(fields), default_symbol),
        time_ns=time(fields.get("time")),
        price=price_of(fields.get("price"), best_bid, best_ask),
        best_bid=best_bid,
        best_ask=best_ask,
        size=size_of(fields.get("size")),
        side=side_of(fields.get("side")),
        trade_id=trade_id,
        # It tells trades apart, as a sequence does, and rises no more than that.
        sequence=whole_of(fields.get("sequence")) if opaque is None else opaque,
        source=source,
    )


def _name(fields: Mapping[str, Any]) -> object:
    name = fields.get("symbol")
    if name is None and "base" in fields and "quote" in fields:
        return pair_of(fields["base"], fields["quote"])
    return name


def is_control(kind: object) -> bool:
    """Return whether the type of a record is that of a message or an order, and of no tick."""
    return isinstance(kind, str) and kind.strip().lower() in _CONTROL_TYPES


def pair_of(base: object, quote: object) -> str | None:
    """Return the symbol of two assets; None if one of them is no name."""
    if isinstance(base, str) and isinstance(quote, str) and base and quote:
        return f"{base.strip()}-{quote.strip()}"
    return None
