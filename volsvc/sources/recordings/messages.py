"""Messages of venues in recordings, as collectors write them, one a line.

Those of Coinbase and Kraken are read by the parsers of the live feeds; Binance's are read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from volsvc.domain import InvalidTickError, Tick, tick_from_fields
from volsvc.domain.fields import time_of
from volsvc.domain.records import field_of
from volsvc.sources.live.coinbase import Coinbase
from volsvc.sources.live.kraken import Kraken
from volsvc.sources.live.venue import MarketData, Venue, decode, parsed

# Fields in which collectors keep the message, as an object or as text.
_WRAPPERS: Final = ("payload", "raw", "raw_message", "message", "msg", "data")
_BINANCE: Final = {
    "aggTrade": "a",
    "trade": "t",
    **dict.fromkeys(("bookTicker", "24hrTicker", "24hrMiniTicker"), ""),
}


def ticks_of_message(record: Mapping[str, Any]) -> Sequence[Tick | InvalidTickError] | None:
    """Return the ticks of a venue's message and its faults; None if the record is no such message.

    A heartbeat, a receipt and the like have neither.
    """
    found = _read(record, 0)
    if found is None:
        # The time of a collector, for messages that have none of their own.
        received_ns = _time_of(record)
        for name in _WRAPPERS:
            inner = record.get(name)
            if isinstance(inner, str) and inner.lstrip().startswith("{"):
                try:
                    inner = decode(inner)
                except InvalidTickError:
                    continue
            if isinstance(inner, dict) and (found := _read(inner, received_ns)) is not None:
                break
    return found


def _time_of(record: Mapping[str, Any]) -> int:
    try:
        return time_of(field_of(record, "time"))
    except InvalidTickError:
        return 0


def _read(message: Mapping[str, Any], received_ns: int) -> Sequence[Tick | InvalidTickError] | None:
    if "channel" in message and ("sequence_num" in message or "events" in message):
        return _of_venue(Coinbase(), message, received_ns)
    if message.get("channel") in ("trade", "ticker", "heartbeat", "status") or (
        "method" in message and "success" in message
    ):
        return _of_venue(Kraken(), message, received_ns)
    if isinstance(message.get("s"), str) and ("e" in message or {"b", "a"} <= message.keys()):
        return _of_binance(message)
    return None


def _of_venue(
    venue: Venue, message: Mapping[str, Any], received_ns: int
) -> Sequence[Tick | InvalidTickError]:
    try:
        # Where nobody knows when it was received, a tick without a time is a fault.
        content = parsed(venue.parse, msgspec.json.encode(message), received_ns).content
    except InvalidTickError as error:
        return (error,)
    return (*content.ticks, *content.errors) if isinstance(content, MarketData) else ()


def _of_binance(message: Mapping[str, Any]) -> Sequence[Tick | InvalidTickError]:
    kind = message.get("e", "bookTicker")
    if not isinstance(kind, str) or kind not in _BINANCE:
        return ()
    quotes = kind in ("bookTicker", "24hrTicker")
    price = message.get("c") if kind.startswith("24hr") else message.get("p")
    # A trade's maker is the buyer (`m`) if its taker sold.
    maker = message.get("m")
    side = ("sell" if maker else "buy") if isinstance(maker, bool) and not quotes else None
    fields = {
        "symbol": message["s"],
        "time": message.get("T", message.get("E")),
        "price": price,
        "size": message.get("q") if _BINANCE[kind] else None,
        "side": side,
        "best_bid": message.get("b") if quotes else None,
        "best_ask": message.get("a") if quotes else None,
        "trade_id": message.get(_BINANCE[kind]),
    }
    try:
        return (tick_from_fields(fields, None, "binance"),)
    except InvalidTickError as error:
        return (error,)
