"""The messages of the simulated exchange, in the formats of Coinbase.

The WebSocket has those of Advanced Trade, REST those of the Exchange API.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from volsvc.domain import Tick, format_time
from volsvc.simulator.steps import Step

Events = list[dict[str, Any]]


def now_text() -> str:
    """Return the time of the exchange's clock."""
    return format_time(time.time_ns())


def envelope(channel: str, sent: str, sequence: int, events: Events) -> str:
    """Return a message of the WebSocket; `sequence` numbers the messages of a connection."""
    message = {
        "channel": channel,
        "client_id": "",
        "timestamp": sent,
        "sequence_num": sequence,
        "events": events,
    }
    return msgspec.json.encode(message).decode()


def error(text: str) -> str:
    """Return an error message, which has no envelope and no number."""
    return msgspec.json.encode({"type": "error", "message": text}).decode()


def data_messages(channel: str, step: Step, skew_ns: int) -> list[tuple[str, Events]]:
    """Return the messages of a step as time of sending and events.

    There is one message of trades, or one for each ticker.
    """
    if channel == "market_trades":
        last_ns = step.ticks[-1].time_ns + skew_ns
        trades = [trade(tick, skew_ns) for tick in step.ticks]
        return [(format_time(last_ns), [{"type": "update", "trades": trades}])]
    return [
        (
            format_time(tick.time_ns + skew_ns),
            [{"type": "update", "tickers": [_ticker(tick)]}],
        )
        for tick in step.ticks
    ]


def snapshot(channel: str, newest: Sequence[Tick]) -> tuple[str, Events]:
    """Return the message after a subscription: past trades, newest first, or the last price."""
    sent = format_time(newest[-1].time_ns)
    if channel == "market_trades":
        return sent, [{"type": "snapshot", "trades": [trade(tick) for tick in newest[::-1]]}]
    return sent, [{"type": "snapshot", "tickers": [_ticker(newest[-1])]}]


def heartbeat(counter: int) -> Events:
    """Return the events of a heartbeat."""
    # The real venue sends the time in the form that Go programs print, and the counter as a number.
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    return [{"current_time": f"{clock} +0000 UTC m=+{counter}.0", "heartbeat_counter": counter}]


def confirmation(channels: Mapping[str, Iterable[str]]) -> Events:
    """Return the events that confirm all subscriptions of a client."""
    return [{"subscriptions": {name: sorted(products) for name, products in channels.items()}}]


def trade(tick: Tick, skew_ns: int = 0) -> dict[str, Any]:
    """Return a trade in the format of the WebSocket."""
    return {
        "trade_id": str(tick.trade_id),
        "product_id": tick.symbol,
        "price": repr(tick.price),
        "size": "" if tick.size is None else repr(tick.size),
        "side": (tick.side or "").upper(),
        "time": format_time(tick.time_ns + skew_ns),
    }


def rest_trade(tick: Tick) -> dict[str, Any]:
    """Return a trade in the format of the REST API."""
    # Here the id is a number; on the WebSocket it is a text.
    found = trade(tick)
    return {
        "trade_id": tick.trade_id,
        "side": tick.side or "",
        **{name: found[name] for name in ("size", "price", "time")},
    }


def _ticker(tick: Tick) -> dict[str, Any]:
    quotes = {"best_bid": tick.best_bid, "best_ask": tick.best_ask}
    shown = {name: "" if value is None else repr(value) for name, value in quotes.items()}
    return {"type": "ticker", "product_id": tick.symbol, "price": repr(tick.price), **shown}


def frame(text: str) -> bytes:
    """Return a text message as one unmasked WebSocket frame (RFC 6455, section 5.2)."""
    payload = text.encode()
    # 0x81: the final fragment of a text. The length has 7, 16 or 64 bits.
    if len(payload) < 126:
        head = bytes([0x81, len(payload)])
    elif len(payload) < 65_536:
        head = b"\x81\x7e" + len(payload).to_bytes(2, "big")
    else:
        head = b"\x81\x7f" + len(payload).to_bytes(8, "big")
    return head + payload
