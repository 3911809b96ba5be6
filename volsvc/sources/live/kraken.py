"""Kraken: the WebSocket API v2, and public trades over REST.

Symbols are written as everywhere in volsvc, `BTC-USD`; Kraken writes `BTC/USD`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec

from volsvc.domain import InvalidTickError, Tick, format_time
from volsvc.sources.live.venue import (
    Confirmed,
    Content,
    Data,
    Heartbeat,
    Message,
    Refusal,
    TradeGap,
    Unused,
    data_of,
    decode_object,
    objects,
)

CHANNELS = {"trades": "trade", "ticker": "ticker"}
# What Kraken's REST API calls assets that its newer WebSocket calls by their usual names.
OLD_NAMES = {"BTC": "XBT", "DOGE": "XDG"}


class Kraken:
    """Kraken as a venue; it numbers trades but not messages, and its side is the taker's."""

    name = "kraken"
    ws_url = "wss://ws.kraken.com/v2"
    rest_url = "https://api.kraken.com"

    def __init__(self, feed: Literal["trades", "ticker"] = "trades") -> None:
        self.channel = CHANNELS[feed]

    def subscriptions(self, symbols: Sequence[str]) -> list[str]:
        """One message; heartbeats come with any subscription, while nothing else does."""
        pairs = [symbol.replace("-", "/") for symbol in symbols]
        params = {"channel": self.channel, "symbol": pairs, "snapshot": True}
        return [msgspec.json.encode({"method": "subscribe", "params": params}).decode()]

    def parse(self, raw: str | bytes, received_ns: int) -> Message:
        """What a message says; raises InvalidTickError when it is malformed."""
        message = decode_object(raw)
        if message.get("method") == "subscribe":
            return Message(_receipt(message))
        channel = message.get("channel")
        if channel == "heartbeat":
            return Message(Heartbeat())
        if channel in ("trade", "ticker"):
            return Message(_data(message, received_ns))
        return Message(Unused(str(channel)[:40]))

    def trades_url(self, gap: TradeGap) -> str:
        """Trades after the last one known; the API goes by time in nanoseconds, not by id."""
        base, _, quote = gap.symbol.partition("-")
        pair = OLD_NAMES.get(base, base) + OLD_NAMES.get(quote, quote)
        return "/0/public/Trades?" + urlencode({"pair": pair, "since": gap.after_ns - 1})

    def parse_trades(self, symbol: str, body: bytes) -> list[Tick]:
        """The trades of a REST answer, oldest first; raises InvalidTickError."""
        answer = decode_object(body)
        result = answer.get("result")
        if answer.get("error") or not isinstance(result, dict):
            raise InvalidTickError("error", str(answer.get("error"))[:100], "json")
        lists = [rows for rows in result.values() if isinstance(rows, list)]
        rows = [_rest_row(symbol, row) for trades in lists for row in trades]
        data = data_of(rows, self.name, snapshot=True)
        if data.faults:
            raise data.faults[0]
        return list(data.ticks)


def _receipt(message: Mapping[str, Any]) -> Content:
    if not message.get("success"):
        symbol = str(message.get("symbol", "")).replace("/", "-")
        return Refusal(f"{message.get('error')}"[:200], symbol)
    result = message.get("result")
    if not isinstance(result, dict):
        raise InvalidTickError("result", "is not an object", "json")
    symbol = str(result.get("symbol")).replace("/", "-")
    return Confirmed(frozenset({(str(result.get("channel")), symbol)}))


def _data(message: Mapping[str, Any], received_ns: int) -> Data:
    snapshot = message.get("type") == "snapshot"
    rows = [_row(row, received_ns) for row in objects(message, "data")]
    return data_of(rows, Kraken.name, snapshot=snapshot)


def _row(row: Mapping[str, Any], received_ns: int) -> Mapping[str, Any]:
    """A trade or a ticker, which came without a time until 2025, under our own names."""
    symbol = row.get("symbol")
    return {
        "symbol": symbol.replace("/", "-") if isinstance(symbol, str) else symbol,
        "time": row.get("timestamp", format_time(received_ns)),
        "price": row.get("price", row.get("last")),
        "best_bid": row.get("bid"),
        "best_ask": row.get("ask"),
        "size": row.get("qty"),
        "side": row.get("side"),
        "trade_id": row.get("trade_id"),
    }


def _rest_row(symbol: str, row: object) -> Mapping[str, Any]:
    """[price, volume, time, b or s, m or l, text, trade id]."""
    if not isinstance(row, list) or len(row) < 7:
        raise InvalidTickError("trades", f"{row!r}"[:80] + " is no trade", "json")
    price, size, time, side, *_, trade_id = row
    return {
        "symbol": symbol,
        "time": time,
        "price": price,
        "size": size,
        "side": {"b": "buy", "s": "sell"}.get(side),
        "trade_id": trade_id,
    }
