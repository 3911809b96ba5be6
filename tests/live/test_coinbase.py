"""Tests of the messages of Coinbase, parsed without a socket."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.recordings import MESSAGES, REAL_MESSAGES, REAL_SESSIONS, SESSION
from volsvc.domain import InvalidTickError, Tick, parse_time
from volsvc.sources.live.coinbase import Coinbase
from volsvc.sources.live.venue import (
    Candle,
    ErrorMessage,
    Heartbeat,
    MarketData,
    Message,
    Subscription,
    SubscriptionAck,
    TradeGap,
)

NOW_NS = parse_time("2026-04-07T14:30:04Z")
# Messages by the class of their content and a name.
SHIPPED_MESSAGES: dict[str, dict[str, Any]] = json.loads(MESSAGES.read_text())


def parse(message: Any) -> Message:
    return Coinbase().parse(json.dumps(message), NOW_NS)


def envelope(channel: str, *events: Any, sequence: Any = 7) -> dict[str, Any]:
    sent = "2026-04-07T14:30:03.05Z"
    head = {"channel": channel, "client_id": "", "timestamp": sent, "sequence_num": sequence}
    return {**head, "events": list(events)}


def trade(number: int, **changes: Any) -> dict[str, Any]:
    fields = {
        "trade_id": str(number),
        "product_id": "BTC-USD",
        "price": "68900.5",
        "size": "0.0015",
        "side": "BUY",
        "time": f"2026-04-07T14:30:02.{number:03d}Z",
    }
    return {**fields, **changes}


def ticks_of(message: Message) -> tuple[Tick, ...]:
    assert isinstance(message.content, MarketData)
    return message.content.ticks


def test_many_trades_in_one_message() -> None:
    """Every trade of a message becomes a tick; ticks are sorted by time."""
    events = [
        {"type": "update", "trades": [trade(3), trade(2), trade(4)]},
        {"type": "update", "trades": [trade(1, product_id="ETH-USD")]},
    ]
    message = parse(envelope("market_trades", *events))
    assert [tick.trade_id for tick in ticks_of(message)] == [1, 2, 3, 4]
    assert (message.sequence, message.sent) == (7, "2026-04-07T14:30:03.05Z")
    tick = ticks_of(message)[1]
    assert tick == Tick(
        "BTC-USD",
        parse_time("2026-04-07T14:30:02.002Z"),
        68900.5,
        size=0.0015,
        side="buy",
        trade_id=2,
        source="coinbase",
    )


def test_snapshots_are_marked() -> None:
    """Trades from before the subscription are marked, because their age is no delay of the feed."""
    content = parse(envelope("market_trades", {"type": "snapshot", "trades": [trade(1)]})).content
    assert isinstance(content, MarketData)
    assert content.snapshot


def test_ticker_has_the_envelopes_time() -> None:
    """A ticker has the time of its envelope, and neither trade id nor size."""
    ticker = {
        "type": "ticker",
        "product_id": "BTC-USD",
        "price": "68900.50",
        "best_bid": "68900",
        "best_ask": "",
    }
    (tick,) = ticks_of(parse(envelope("ticker", {"type": "update", "tickers": [ticker]})))
    assert tick.time_ns == parse_time("2026-04-07T14:30:03.05Z")
    assert (tick.price, tick.best_bid, tick.best_ask) == (68900.5, 68900.0, None)
    assert (tick.trade_id, tick.sequence, tick.size) == (None, None, None)


def test_one_invalid_trade() -> None:
    """The valid trades of a message become ticks, the invalid ones errors with field and reason."""
    trades = [trade(1), trade(2, price="-1"), trade(3, time="soon"), trade(4)]
    content = parse(envelope("market_trades", {"type": "update", "trades": trades})).content
    assert isinstance(content, MarketData)
    assert [tick.trade_id for tick in content.ticks] == [1, 4]
    assert [error.field for error in content.errors] == ["price", "time"]


@pytest.mark.parametrize("counter", [66987, "3049"])
def test_heartbeats(counter: object) -> None:
    """A heartbeat is recognised, with its counter as a number or a text."""
    event = {
        "current_time": "2024-10-04 07:04:40.820713045 +0000 UTC m=+66987.628148662",
        "heartbeat_counter": counter,
    }
    assert parse(envelope("heartbeats", event)).content == Heartbeat()


def test_acknowledgements() -> None:
    """An acknowledgement has the products of each channel, in both feeds."""
    subscriptions = {"market_trades": ["BTC-USD", "ETH-USD"], "heartbeats": ["heartbeats"]}
    advanced = parse(envelope("subscriptions", {"subscriptions": subscriptions})).content
    assert advanced == SubscriptionAck(
        frozenset(
            {
                Subscription("market_trades", "BTC-USD"),
                Subscription("market_trades", "ETH-USD"),
                Subscription("heartbeats", "heartbeats"),
            }
        )
    )
    channels = [{"name": "matches", "product_ids": ["BTC-USD"], "account_ids": None}]
    exchange = parse({"type": "subscriptions", "channels": channels}).content
    assert exchange == SubscriptionAck(frozenset({Subscription("matches", "BTC-USD")}))


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ({"message": "authentication failure"}, ErrorMessage("authentication failure")),
        (
            {"message": "Failed to subscribe", "reason": "X-Y is delisted"},
            ErrorMessage("Failed to subscribe: X-Y is delisted", "X-Y"),
        ),
        (
            {"message": "Failed to subscribe", "reason": "ticket is not a valid channel"},
            ErrorMessage("Failed to subscribe: ticket is not a valid channel"),
        ),
    ],
)
def test_error_messages(message: dict[str, str], refusal: ErrorMessage) -> None:
    """An error message keeps the venue's text and the symbol that it names."""
    assert parse({"type": "error", **message}).content == refusal


@pytest.mark.parametrize("kind", ["match", "last_match", "ticker"])
def test_exchange_feed(kind: str) -> None:
    """The flat messages of the Exchange feed become ticks with trade id and sequence."""
    fields = {
        "type": kind,
        "trade_id": 1092969670,
        "side": "buy",
        "size": "0.00000009",
        "price": "77049.84",
        "product_id": "BTC-USD",
        "sequence": 136118091158,
        "time": "2026-09-15T11:01:54.452213Z",
    }
    content = parse(fields).content
    assert isinstance(content, MarketData)
    (tick,) = content.ticks
    assert (tick.trade_id, tick.sequence, tick.size) == (1092969670, 136118091158, 9e-8)
    assert content.snapshot == (kind == "last_match")


def test_exchange_heartbeat() -> None:
    """A heartbeat with a last_trade_id of 0 is a heartbeat and nothing more."""
    beat = {"type": "heartbeat", "last_trade_id": 0, "product_id": "ETH-EUR", "sequence": 1}
    assert parse(beat).content == Heartbeat()


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "[1]",
        "null",
        b"\xff\xfe",
        '{"channel":"market_trades","sequence_num":"1","events":[]}',
        '{"channel":"market_trades","sequence_num":1,"events":{}}',
        '{"channel":"market_trades","sequence_num":1,"events":[{"type":"update"}]}',
        '{"channel":"subscriptions","sequence_num":1,"events":[{"subscriptions":[]}]}',
    ],
)
def test_malformed(raw: str | bytes) -> None:
    """A malformed message raises InvalidTickError with the reason `json`."""
    with pytest.raises(InvalidTickError) as caught:
        Coinbase().parse(raw, NOW_NS)
    assert caught.value.reason == "json"


# The contents of each session, and the number of its matches.
SHIPPED = {"SubscriptionAck": 1, "MarketData": 114, "Heartbeat": 6, "IgnoredMessage": 58}
REAL = {"SubscriptionAck": 3, "MarketData": 214, "IgnoredMessage": 9729}
SESSIONS = [(SESSION, SHIPPED, 56), *((path, REAL, 97) for path in REAL_SESSIONS)]


@pytest.mark.parametrize(
    ("path", "contents", "matches"), SESSIONS, ids=[path.name for path, _, _ in SESSIONS]
)
def test_captured_session(path: Path, contents: dict[str, int], matches: int) -> None:
    """Each message of a captured session is parsed; its matches have consecutive trade ids."""
    kinds: Counter[str] = Counter()
    ids: dict[str, list[int]] = {}
    with gzip.open(path, "rt") as file:
        for line in file:
            received, _, text = line.partition(": ")
            if not received.replace(".", "").isdigit():
                continue
            content = Coinbase().parse(text, NOW_NS).content
            kinds[type(content).__name__] += 1
            if isinstance(content, MarketData) and '"match"' in text:
                assert not content.errors
                for tick in content.ticks:
                    ids.setdefault(tick.symbol, []).append(tick.trade_id or 0)
    assert kinds == contents
    assert sum(map(len, ids.values())) == matches
    for numbers in ids.values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def kind_of(file_name: str) -> str:
    """Return the class of the content of a venue's example, by the name of its file."""
    words = file_name.lower()
    if any(word in words for word in ("market_trades", "matches", "ws_ticker.json", "ticker_btc")):
        return "MarketData"
    if "heartbeat" in words:
        return "Heartbeat"
    if "error" in words:
        return "ErrorMessage"
    return "SubscriptionAck" if "subscri" in words else "IgnoredMessage"


EXAMPLES = [
    *(
        pytest.param(kind, json.dumps(message), id=f"{kind}: {name}")
        for kind, messages in SHIPPED_MESSAGES.items()
        for name, message in messages.items()
    ),
    *(pytest.param(kind_of(path.name), path.read_text(), id=path.name) for path in REAL_MESSAGES),
]


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_documented_messages(kind: str, text: str) -> None:
    """Each message in the venue's shapes is parsed as what it is, trades and tickers as ticks."""
    content = Coinbase().parse(text, NOW_NS).content
    assert type(content).__name__ == kind
    if isinstance(content, MarketData):
        assert content.ticks
        assert not content.errors


def test_rest_pages() -> None:
    """A gap is requested from its oldest page on, and pages are returned oldest first."""
    venue = Coinbase()
    assert (
        venue.trades_url(TradeGap("BTC-USD", 11, 14, 0))
        == "/products/BTC-USD/trades?limit=4&after=15"
    )
    assert "limit=1000&after=1011" in venue.trades_url(TradeGap("BTC-USD", 11, 9_999, 0))
    rows = [{**trade(n), "trade_id": n} for n in (3, 2, 1)]
    found = venue.parse_trades("BTC-USD", json.dumps(rows).encode())
    assert [tick.trade_id for tick in found] == [1, 2, 3]
    candles = venue.parse_candles(b"[[120,1,4,2,3,9.5],[60,1,2,1.5,2,0]]")
    assert candles == [Candle(60, 1.5, 2, 1, 2, 0), Candle(120, 2, 4, 1, 3, 9.5)]
    with pytest.raises(InvalidTickError):
        venue.parse_candles(b'{"message":"NotFound"}')
