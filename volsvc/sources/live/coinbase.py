"""Coinbase: the Advanced Trade WebSocket, and the message formats of the Exchange feed.

Advanced Trade wraps every message into an envelope with a number that counts the messages of the
connection over all channels; the Exchange feed sends flat messages with a `type`. Missed and
historical trades come from the Exchange's public REST API, which pages by trade id (both feeds
share the ids) and needs no key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from volsvc.domain import NS, InvalidTickError, Tick, format_time, tick_from_record
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
    decode,
    decode_object,
    market_data,
    object_list,
    our_symbol,
)

# The REST API's limits of one page.
PAGE_TRADES = 1_000
PAGE_CANDLES = 300
CHANNELS = {"trades": "market_trades", "ticker": "ticker"}
# The Exchange feed names a refused product. Other reasons have the same form but no product, such
# as "ticket is not a valid channel".
_REFUSED_PRODUCT = re.compile(r"(\S+) is (?:not a valid product|delisted)")
# A tuple: a kind that is a list cannot be looked up in a set.
_FLAT_TICKS = ("match", "last_match", "ticker")


class _CandleRow(NamedTuple):
    start_s: int
    low: Price
    high: Price
    open: Price
    close: Price
    volume: Size


class Coinbase:
    """Coinbase Advanced Trade as a venue; `feed` selects the channel whose messages become ticks.

    The side of a trade is the maker's.
    """

    name = "coinbase"
    ws_url = "wss://advanced-trade-ws.coinbase.com"
    rest_url = "https://api.exchange.coinbase.com"
    candles_per_page = PAGE_CANDLES
    newest_candles: int | None = None

    def __init__(self, feed: FeedKind = "trades") -> None:
        self.channel = CHANNELS[feed]

    def symbol(self, name: str) -> str:
        """Return our name of a symbol, `BTC-USD` also for `BTC/USD`; raises SourceError."""
        return our_symbol(name)

    def subscribe_messages(self, symbols: Sequence[str]) -> list[str]:
        """Return one message for each channel."""
        data = {"type": "subscribe", "product_ids": list(symbols), "channel": self.channel}
        # Without this channel the venue closes a quiet connection after 60 to 90 seconds.
        heartbeats = {"type": "subscribe", "channel": "heartbeats"}
        return [msgspec.json.encode(message).decode() for message in (heartbeats, data)]

    def parse(self, raw: str | bytes, received_ns: int) -> Message:
        """Parse a message of either feed; raises InvalidTickError if it is malformed."""
        message = decode_object(raw)
        if "channel" in message:
            return _parse_envelope(message)
        return Message(_parse_flat(message))

    def trades_url(self, gap: TradeGap) -> str:
        """Return the request for the oldest page of a gap."""
        # The API returns the trades before the id `after`, newest first.
        count = min(PAGE_TRADES, gap.last - gap.first + 1)
        query = urlencode({"limit": count, "after": gap.first + count})
        return f"/products/{quote(gap.symbol, safe='')}/trades?{query}"

    def newest_url(self, symbol: str) -> str:
        """Return the request for the newest trade."""
        return f"/products/{quote(symbol, safe='')}/trades?limit=1"

    def candles_url(self, symbol: str, start_s: int, count: int) -> str:
        """Return the request for `count` one-minute candles, at most PAGE_CANDLES, from a minute.

        `start_s` is in seconds since the epoch.
        """
        # Both ends are inclusive.
        first, last = (format_time(s * NS) for s in (start_s, start_s + 60 * (count - 1)))
        query = urlencode({"granularity": 60, "start": first, "end": last})
        return f"/products/{quote(symbol, safe='')}/candles?{query}"

    def parse_candles(self, body: bytes) -> list[Candle]:
        """Parse a REST page of candles, oldest first; raises InvalidTickError."""
        rows = sorted(converted_rows(decode(body), _CandleRow))
        return [Candle(t, o, h, lo, c, v) for t, lo, h, o, c, v in rows]

    def parse_trades(self, symbol: str, body: bytes) -> list[Tick]:
        """Parse a REST page of trades, oldest first; raises InvalidTickError."""
        rows = object_list({"trades": decode(body)}, "trades")
        data = market_data(({**row, "symbol": symbol} for row in rows), self.name, snapshot=True)
        if data.errors:
            raise data.errors[0]
        return list(data.ticks)


def _parse_envelope(message: Mapping[str, Any]) -> Message:
    sequence = message.get("sequence_num")
    # In Python a bool is an int too.
    if isinstance(sequence, bool) or not isinstance(sequence, int):
        raise InvalidTickError("sequence_num", f"{shown(sequence)} is not an integer", "json")
    sent = message.get("timestamp")
    content = _parse_content(message, sent if isinstance(sent, str) else None)
    return Message(content, sequence, plain_text(sent, 60))


def _parse_content(message: Mapping[str, Any], sent: str | None) -> Content:
    channel = message["channel"]
    if channel == "heartbeats":
        # Not parsed: the counter is a number or a text, and the time has the form of Go programs.
        return Heartbeat()
    if channel not in ("market_trades", "ticker", "ticker_batch", "subscriptions"):
        return IgnoredMessage(plain_text(channel, 40))
    events = object_list(message, "events")
    if channel == "subscriptions":
        return SubscriptionAck(frozenset(_confirmed(events)))
    snapshot = any(event.get("type") == "snapshot" for event in events)
    # One message may hold many events, and one event many trades.
    if channel == "market_trades":
        rows = (
            {**t, "symbol": t.get("product_id")} for e in events for t in object_list(e, "trades")
        )
    else:
        # A ticker has no time of its own; the envelope's is the nearest to it.
        rows = (
            {**t, "symbol": t.get("product_id"), "time": sent}
            for e in events
            for t in object_list(e, "tickers")
        )
    return market_data(rows, Coinbase.name, snapshot=snapshot)


def _confirmed(events: Sequence[Mapping[str, Any]]) -> Iterator[Subscription]:
    for event in events:
        subscriptions = event.get("subscriptions")
        if not isinstance(subscriptions, dict):
            raise InvalidTickError("subscriptions", "is not an object", "json")
        # The channel `heartbeats` lists "heartbeats" in the place of products.
        for channel, products in subscriptions.items():
            yield from _subscriptions(channel, products)


def _subscriptions(channel: object, products: object) -> Iterator[Subscription]:
    if not isinstance(channel, str) or not isinstance(products, list):
        raise InvalidTickError("subscriptions", "are not lists by channel", "json")
    yield from (Subscription(channel, plain_text(product, 64)) for product in products)


def _parse_flat(message: Mapping[str, Any]) -> Content:
    """Parse a message of the Exchange feed, or an error of Advanced Trade, which looks alike."""
    kind = message.get("type")
    if kind in _FLAT_TICKS:
        try:
            tick = tick_from_record(message, source=Coinbase.name)
        except InvalidTickError as error:
            return MarketData((), errors=(error,))
        # A `last_match` is the trade before the subscription and may be minutes old.
        return MarketData((tick,), snapshot=kind == "last_match")
    if kind == "heartbeat":
        # Its `last_trade_id` is a sample and often 0, so no gap is inferred from it.
        return Heartbeat()
    if kind == "error":
        parts = [plain_text(message[n], 200) for n in ("message", "reason") if message.get(n)]
        refused = _REFUSED_PRODUCT.match(plain_text(message.get("reason"), 200))
        return ErrorMessage(": ".join(parts)[:200], refused[1] if refused else "")
    if kind == "subscriptions":
        channels = object_list(message, "channels")
        named = ((channel.get("name"), channel.get("product_ids") or []) for channel in channels)
        return SubscriptionAck(frozenset(s for pair in named for s in _subscriptions(*pair)))
    return IgnoredMessage(plain_text(kind, 40))
