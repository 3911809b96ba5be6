"""Coinbase: Advanced Trade's WebSocket, and the message shapes of its Exchange feed.

Advanced Trade wraps everything into envelopes with a number that counts the messages of the
connection over all channels; the Exchange feed sends flat messages with a `type`. Missed and
historical trades come from the Exchange's public REST API, which pages by trade id (both feeds
share the ids) and needs no key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from volsvc.domain import NS, InvalidTickError, Tick, format_time, tick_from_record
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
    decode,
    decode_object,
    objects,
)

# Most trades in one answer of the REST API.
PAGE_TRADES = 1_000
PAGE_CANDLES = 300
CHANNELS = {"trades": "market_trades", "ticker": "ticker"}
_NAMED = re.compile(r"(\S+) is (?:not a valid product|delisted)")
_FLAT_TICKS = frozenset({"match", "last_match", "ticker"})


Price = Annotated[float, msgspec.Meta(gt=0)]
Size = Annotated[float, msgspec.Meta(ge=0)]


class Candle(NamedTuple):
    """A minute of trades; `start_s` is in seconds since the epoch."""

    start_s: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Coinbase:
    """Advanced Trade as a venue; `feed` says which channel's messages become ticks."""

    name = "coinbase"
    ws_url = "wss://advanced-trade-ws.coinbase.com"
    rest_url = "https://api.exchange.coinbase.com"

    def __init__(self, feed: Literal["trades", "ticker"] = "trades") -> None:
        self.channel = CHANNELS[feed]

    def subscriptions(self, symbols: Sequence[str]) -> list[str]:
        """One message a channel; without `heartbeats` a quiet channel is closed after a minute."""
        data = {"type": "subscribe", "product_ids": list(symbols), "channel": self.channel}
        beats = {"type": "subscribe", "channel": "heartbeats"}
        return [msgspec.json.encode(message).decode() for message in (beats, data)]

    def parse(self, raw: str | bytes, received_ns: int) -> Message:
        """What a message of either feed says; raises InvalidTickError when it is malformed."""
        message = decode_object(raw)
        if "channel" in message:
            return _envelope(message)
        return Message(_flat(message))

    def trades_url(self, gap: TradeGap) -> str:
        """The oldest page of a hole: the API gives what is older than an id, newest first."""
        count = min(PAGE_TRADES, gap.last - gap.first + 1)
        query = urlencode({"limit": count, "after": gap.first + count})
        return f"/products/{quote(gap.symbol, safe='')}/trades?{query}"

    def newest_url(self, symbol: str) -> str:
        """The newest trade."""
        return f"/products/{quote(symbol, safe='')}/trades?limit=1"

    def candles_url(self, symbol: str, start_s: int, count: int) -> str:
        """One-minute candles from a minute on, at most PAGE_CANDLES of them."""
        first, last = (format_time(s * NS) for s in (start_s, start_s + 60 * (count - 1)))
        query = urlencode({"granularity": 60, "start": first, "end": last})
        return f"/products/{quote(symbol, safe='')}/candles?{query}"

    def parse_candles(self, body: bytes) -> list[Candle]:
        """The candles of a REST answer, oldest first; raises InvalidTickError."""
        try:
            rows = msgspec.json.decode(
                body, type=list[tuple[int, Price, Price, Price, Price, Size]]
            )
        except msgspec.MsgspecError as error:
            raise InvalidTickError("candles", str(error)[:200], "json") from error
        return [Candle(t, o, h, lo, c, v) for t, lo, h, o, c, v in sorted(rows)]

    def parse_trades(self, symbol: str, body: bytes) -> list[Tick]:
        """The trades of a REST answer, oldest first; raises InvalidTickError."""
        rows = objects({"trades": decode(body)}, "trades")
        data = data_of(({**row, "symbol": symbol} for row in rows), self.name, snapshot=True)
        if data.faults:
            raise data.faults[0]
        return list(data.ticks)


def _envelope(message: Mapping[str, Any]) -> Message:
    sequence = message.get("sequence_num")
    if isinstance(sequence, bool) or not isinstance(sequence, int):
        raise InvalidTickError("sequence_num", f"{sequence!r}"[:60] + " is no number", "json")
    sent = message.get("timestamp")
    content = _content(message, sent if isinstance(sent, str) else None)
    return Message(content, sequence, str(sent))


def _content(message: Mapping[str, Any], sent: str | None) -> Content:
    channel = message["channel"]
    if channel == "heartbeats":
        return Heartbeat()
    if channel not in ("market_trades", "ticker", "ticker_batch", "subscriptions"):
        return Unused(str(channel)[:40])
    events = objects(message, "events")
    if channel == "subscriptions":
        return Confirmed(frozenset(_confirmed(events)))
    snapshot = any(event.get("type") == "snapshot" for event in events)
    if channel == "market_trades":
        rows = ({**t, "symbol": t.get("product_id")} for e in events for t in objects(e, "trades"))
    else:
        # A ticker has no time of its own: the envelope's is the nearest to it.
        rows = (
            {**t, "symbol": t.get("product_id"), "time": sent}
            for e in events
            for t in objects(e, "tickers")
        )
    return data_of(rows, Coinbase.name, snapshot=snapshot)


def _confirmed(events: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for event in events:
        subscriptions = event.get("subscriptions")
        if not isinstance(subscriptions, dict):
            raise InvalidTickError("subscriptions", "is not an object", "json")
        for channel, products in subscriptions.items():
            yield from ((channel, str(product)) for product in products)


def _flat(message: Mapping[str, Any]) -> Content:
    """A message of the Exchange feed; Advanced Trade's errors have this shape too."""
    kind = message.get("type")
    if kind in _FLAT_TICKS:
        try:
            tick = tick_from_record(message, source=Coinbase.name)
        except InvalidTickError as error:
            return Data((), faults=(error,))
        return Data((tick,), snapshot=kind == "last_match")
    if kind == "heartbeat":
        return Heartbeat()
    if kind == "error":
        parts = (str(message[name]) for name in ("message", "reason") if message.get(name))
        named = _NAMED.match(str(message.get("reason")))
        return Refusal(": ".join(parts)[:200], named[1] if named else "")
    if kind == "subscriptions":
        channels = objects(message, "channels")
        return Confirmed(
            frozenset(
                (str(channel.get("name")), str(product))
                for channel in channels
                for product in channel.get("product_ids") or ()
            )
        )
    return Unused(str(kind)[:40])
