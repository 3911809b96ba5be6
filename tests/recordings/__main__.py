"""`python -m tests.recordings` writes the generated recordings of this folder.

They have the shapes of Coinbase's feeds, and what happens in them: see tests/unit/sources.
"""

from __future__ import annotations

import gzip
import heapq
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from tests.recordings import FILLS, SESSION, TICKERS
from tests.recordings.market import US, Market, Trade

START_US = 1_759_758_901_314_159
SEED = 5
# The connection is lost for some seconds; afterwards the newest messages come again.
AWAY_S = (372.0, 376.5)
REPEATED = 6
LOST_US = START_US + 200 * US
BTC = Market("BTC-USD", 7_012_345, 0.6, 984_000_100, 133_000_000_000, (AWAY_S,))
# Silent for longer than a minute, which counts as a gap.
ETH = Market("ETH-USD", 216_450, 0.35, 701_000_500, 88_000_000_000, (AWAY_S, (70.0, 145.0)))
ALONE = Market("BTC-USD", 6_998_701, 0.7, 1, 1)
# From a quiet minute into the burst.
SESSION_S = (292, 312)
SOCKET = "wss://ws-feed.exchange.coinbase.com"
SUBSCRIBED = {
    "type": "subscriptions",
    "channels": [
        {"name": "ticker", "product_ids": ["BTC-USD", "ETH-USD"], "account_ids": None},
    ],
}


def time_of(time_us: int) -> str:
    """Return a time as the venue writes it."""
    seconds, us = divmod(time_us, US)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{us:06}Z"


def money(cents: int) -> str:
    """Return a price with the venue's digits: without trailing zeros."""
    return f"{cents / 100:.2f}".rstrip("0").rstrip(".")


def ticker(trade: Trade) -> dict[str, Any]:
    """Return the message of the ticker channel that follows a trade."""
    return {
        "type": "ticker",
        "sequence": trade.sequence,
        "product_id": trade.symbol,
        "price": money(trade.price),
        "best_bid": money(trade.bid),
        "best_ask": money(trade.ask),
        "side": trade.side,
        "time": time_of(trade.time_us),
        "trade_id": trade.trade_id,
        "last_size": f"{trade.size / 1e8:.8f}",
    }


def match(trade: Trade, kind: str = "match") -> dict[str, Any]:
    """Return the message of the matches channel of a trade, whose side is the maker's."""
    return {
        "type": kind,
        "trade_id": trade.trade_id,
        "side": "sell" if trade.side == "buy" else "buy",
        "size": f"{trade.size / 1e8:.8f}",
        "price": money(trade.price),
        "product_id": trade.symbol,
        "sequence": trade.sequence,
        "time": time_of(trade.time_us),
    }


def both() -> Iterator[Trade]:
    """Yield the trades of both markets, oldest first."""
    markets = (market.trades(SEED, START_US) for market in (BTC, ETH))
    return heapq.merge(*markets, key=lambda trade: trade.time_us)


def without_lost(trades: Sequence[Trade]) -> list[Trade]:
    """Return trades without two of each symbol, whose messages are lost."""
    lost: list[Trade] = []
    for market in (BTC, ETH):
        later = (t for t in trades if t.symbol == market.symbol and t.time_us > LOST_US)
        lost += islice(later, 2)
    return [trade for trade in trades if trade not in lost]


def overtaken(trades: Sequence[Trade], after: int) -> list[Trade]:
    """Return trades of which one, behind a place, comes after the next of its symbol."""
    at = next(
        n
        for n, (one, other) in enumerate(pairwise(trades))
        if n >= after and one.symbol == other.symbol and one.time_us < other.time_us
    )
    return [*trades[:at], trades[at + 1], trades[at], *trades[at + 2 :]]


def ticker_messages() -> list[Mapping[str, Any]]:
    """Return the messages of both markets with what a connection does to them."""
    trades = without_lost(list(both()))
    away_us = START_US + AWAY_S[0] * US
    back = sum(trade.time_us < away_us for trade in trades)
    trades = overtaken(overtaken(trades, back // 3), back - 40)
    messages = [ticker(trade) for trade in trades]
    again = messages[back - REPEATED : back]
    return [SUBSCRIBED, *messages[:back], SUBSCRIBED, *again, *messages[back:]]


def fills() -> Iterator[str]:
    """Yield the rows of a table of trades, in which the fills of an order have the same time."""
    yield "timestamp,price,volume"
    for trade in ALONE.trades(SEED + 1, START_US):
        yield f"{time_of(trade.time_us)},{money(trade.price)},{trade.size / 1e8}"


def subscribed(trades: Sequence[Trade], began_us: int) -> Iterator[Mapping[str, Any]]:
    """Yield the messages that answer a subscription: the book, and a trade from before."""
    yield SUBSCRIBED
    for first in {trade.symbol: trade for trade in reversed(trades)}.values():
        levels = {"bids": [[money(first.bid), "0.5"]], "asks": [[money(first.ask), "0.25"]]}
        yield {"type": "snapshot", "product_id": first.symbol, **levels}
        number, sequence = first.trade_id - 1, first.sequence - 1
        older = first._replace(trade_id=number, sequence=sequence, time_us=began_us - 7 * US)
        yield match(older, "last_match")


def following(trade: Trade) -> Iterator[Mapping[str, Any]]:
    """Yield the messages that a trade causes; each tenth is followed by a heartbeat."""
    yield match(trade)
    yield ticker(trade)
    change = [["buy", money(trade.bid), "0.00000000"]]
    update = {"type": "l2update", "product_id": trade.symbol, "changes": change}
    yield {**update, "time": time_of(trade.time_us)}
    if trade.trade_id % 10 == 0:
        counters = {"last_trade_id": trade.trade_id, "sequence": trade.sequence}
        yield {"type": "heartbeat", **counters, "product_id": trade.symbol}


def session() -> Iterator[str]:
    """Yield the lines of a session: what is sent, and what is received with its time."""
    dice = random.Random(SEED)
    began_us = START_US + SESSION_S[0] * US
    trades = [t for t in both() if began_us <= t.time_us < START_US + SESSION_S[1] * US]
    subscribe = {"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channels": ["ticker"]}
    yield f"{SOCKET} <-> {began_us / US}"
    yield f"{SOCKET} <- {began_us / US}: {json.dumps(subscribe)}"
    at_us = began_us
    for message in subscribed(trades, began_us):
        at_us += dice.randint(50, 9_000)
        yield f"{at_us / US}: {json.dumps(message)}"
    for trade in trades:
        at_us = max(at_us, trade.time_us)
        for message in following(trade):
            at_us += dice.randint(50, 9_000)
            yield f"{at_us / US}: {json.dumps(message)}"


def contents() -> dict[Path, str]:
    """Return the text of each recording."""
    texts = {
        TICKERS: map(json.dumps, ticker_messages()),
        FILLS: fills(),
        SESSION: session(),
    }
    return {path: "".join(line + "\n" for line in lines) for path, lines in texts.items()}


if __name__ == "__main__":
    for path, text in contents().items():
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
