"""Kraken: the WebSocket API v2, and public trades over REST.

Symbols have our form, `BTC-USD`; Kraken writes `BTC/USD`, and `XBTUSD` over REST.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from volsvc.domain import InvalidTickError, SourceError, Tick, format_time
from volsvc.domain.texts import plain_text, shown
from volsvc.sources.live.venue import (
    Candle,
    Content,
    ErrorMessage,
    FeedKind,
    Heartbeat,
    IgnoredMessage,
    MarketData,
    Message,
    Price,
    Size,
    Subscription,
    SubscriptionAck,
    TradeGap,
    converted_rows,
    decode_object,
    market_data,
    object_list,
    our_symbol,
)

CHANNELS = {"trades": "trade", "ticker": "ticker"}
# The REST API has older names than the WebSocket for some assets.
REST_ASSET_NAMES = {"BTC": "XBT", "DOGE": "XDG"}
OUR_ASSET_NAMES = {old: new for new, old in REST_ASSET_NAMES.items()}
SIDES = {"b": "buy", "s": "sell"}


class _CandleRow(NamedTuple):
    start_s: int
    open: Price
    high: Price
    low: Price
    close: Price
    mean: Size
    volume: Size
    trades: int


class Kraken:
    """Kraken as a venue: it numbers trades but not messages; the side of a trade is the taker's."""

    name = "kraken"
    ws_url = "wss://ws.kraken.com/v2"
    rest_url = "https://api.kraken.com"
    # Older one-minute candles are not to be had.
    candles_per_page = 720
    newest_candles: int | None = 720

    def __init__(self, feed: FeedKind = "trades") -> None:
        self.channel = CHANNELS[feed]

    def symbol(self, name: str) -> str:
        """Return our name of a symbol; raises SourceError for an older name of an asset."""
        # Not replaced: the ticks of XBT-USD would be found under another name than was asked for.
        symbol = our_symbol(name)
        base, _, quote = symbol.partition("-")
        if not quote:
            raise SourceError(f"{name!r} is not a pair of assets: write it as BTC-USD")
        ours = "-".join(OUR_ASSET_NAMES.get(asset, asset) for asset in (base, quote))
        if ours != symbol:
            raise SourceError(f"{name!r} has an older name of an asset: write {ours}")
        return symbol

    def subscribe_messages(self, symbols: Sequence[str]) -> list[str]:
        """Return the one message that is needed."""
        # Heartbeats come with any subscription, while nothing else is sent.
        pairs = [symbol.replace("-", "/") for symbol in symbols]
        params = {"channel": self.channel, "symbol": pairs, "snapshot": True}
        return [msgspec.json.encode({"method": "subscribe", "params": params}).decode()]

    def parse(self, raw: str | bytes, received_ns: int) -> Message:
        """Parse a message; raises InvalidTickError if it is malformed."""
        message = decode_object(raw)
        if message.get("method") == "subscribe":
            return Message(_parse_reply(message))
        channel = message.get("channel")
        if channel == "heartbeat":
            return Message(Heartbeat())
        if channel in ("trade", "ticker"):
            return Message(_parse_data(message, received_ns))
        return Message(IgnoredMessage(plain_text(channel, 40)))

    def trades_url(self, gap: TradeGap) -> str:
        """Return the request for the trades after the last known one."""
        # The API pages by time in nanoseconds, not by id. `since` is exclusive, and a missed trade
        # may have the time of the last known one.
        return _rest_url("Trades", gap.symbol, since=gap.after_ns - 1)

    def parse_trades(self, symbol: str, body: bytes) -> list[Tick]:
        """Parse a REST page of trades, oldest first; raises InvalidTickError."""
        rows = [_rest_row(symbol, row) for row in _rest_rows(body)]
        data = market_data(rows, self.name, snapshot=True)
        if data.errors:
            raise data.errors[0]
        return list(data.ticks)

    def candles_url(self, symbol: str, start_s: int, count: int) -> str:
        """Return the request for the one-minute candles from a time on; the count is the API's."""
        # `since` is exclusive.
        return _rest_url("OHLC", symbol, interval=1, since=start_s - 1)

    def parse_candles(self, body: bytes) -> list[Candle]:
        """Parse a REST page of candles, oldest first; raises InvalidTickError."""
        rows = sorted(converted_rows(_rest_rows(body), _CandleRow))
        # A minute without trades has the price before it.
        return [Candle(*row[:5], row.volume) for row in rows if row.trades > 0]


def _rest_url(method: str, symbol: str, **query: int) -> str:
    base, _, quote = symbol.partition("-")
    pair = REST_ASSET_NAMES.get(base, base) + REST_ASSET_NAMES.get(quote, quote)
    return f"/0/public/{method}?" + urlencode({"pair": pair, **query})


def _rest_rows(body: bytes) -> list[object]:
    """Return the rows of an answer over REST; raises InvalidTickError."""
    answer = decode_object(body)
    result = answer.get("result")
    if answer.get("error") or not isinstance(result, dict):
        raise InvalidTickError("error", shown(answer.get("error"), 100), "json")
    # The key is the API's own name of the pair (XXBTZUSD for XBTUSD); beside it stands `last`.
    return [row for rows in result.values() if isinstance(rows, list) for row in rows]


def _parse_reply(message: Mapping[str, Any]) -> Content:
    """Parse the answer to a subscription, of which there is one for each symbol."""
    if not message.get("success"):
        symbol = _our_symbol(message.get("symbol", ""))
        return ErrorMessage(plain_text(message.get("error"), 200), symbol)
    result = message.get("result")
    if not isinstance(result, dict):
        raise InvalidTickError("result", "is not an object", "json")
    channel = plain_text(result.get("channel"), 64)
    symbol = _our_symbol(result.get("symbol"))
    return SubscriptionAck(frozenset({Subscription(channel, symbol)}))


def _our_symbol(name: object) -> str:
    return plain_text(name, 64).replace("/", "-")


def _parse_data(message: Mapping[str, Any], received_ns: int) -> MarketData:
    snapshot = message.get("type") == "snapshot"
    rows = [_row(row, received_ns) for row in object_list(message, "data")]
    return market_data(rows, Kraken.name, snapshot=snapshot)


def _row(row: Mapping[str, Any], received_ns: int) -> Mapping[str, Any]:
    """Return a trade or a ticker with our names of the fields."""
    symbol = row.get("symbol")
    return {
        "symbol": symbol.replace("/", "-") if isinstance(symbol, str) else symbol,
        # Tickers came without a time until 2025.
        "time": row.get("timestamp", format_time(received_ns)),
        "price": row.get("price", row.get("last")),
        "best_bid": row.get("bid"),
        "best_ask": row.get("ask"),
        "size": row.get("qty"),
        "side": row.get("side"),
        "trade_id": row.get("trade_id"),
    }


def _rest_row(symbol: str, row: object) -> Mapping[str, Any]:
    """Return a REST trade as an object.

    Its list is price, volume, time, side (b or s), order type (m or l), text, trade id.
    """
    if not isinstance(row, list) or len(row) < 7:
        raise InvalidTickError("trades", f"{shown(row, 80)} is not a trade", "json")
    price, size, time, side, *_, trade_id = row
    return {
        "symbol": symbol,
        "time": time,
        "price": price,
        "size": size,
        "side": SIDES.get(side) if isinstance(side, str) else None,
        "trade_id": trade_id,
    }
