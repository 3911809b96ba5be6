"""What the venues' sockets say, read without a socket."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recordings import REAL_MESSAGES
from volsvc.domain import InvalidTickError, Tick, parse_time
from volsvc.sources.live.coinbase import Candle, Coinbase
from volsvc.sources.live.kraken import Kraken
from volsvc.sources.live.venue import Confirmed, Data, Heartbeat, Message, Refusal, TradeGap, Unused

NOW_NS = parse_time("2026-04-07T14:30:04Z")
CAPTURES = sorted(REAL_MESSAGES.glob("captures/COINBASE.ws*.gz"))
EXAMPLES = sorted(
    path
    for folder in ("advanced-trade", "exchange")
    for path in REAL_MESSAGES.glob(f"*/{folder}/ws_*")
)


def coinbase(message: Any) -> Message:
    return Coinbase().parse(json.dumps(message), NOW_NS)


def kraken(message: Any) -> Message:
    return Kraken().parse(json.dumps(message), NOW_NS)


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
    assert isinstance(message.content, Data)
    return message.content.ticks


def test_many_trades_in_one_message() -> None:
    """Every trade of a message is a tick, oldest first, whatever the order in the message."""
    events = [
        {"type": "update", "trades": [trade(3), trade(2), trade(4)]},
        {"type": "update", "trades": [trade(1, product_id="ETH-USD")]},
    ]
    message = coinbase(envelope("market_trades", *events))
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


def test_snapshots_are_told_apart() -> None:
    """Trades from before the subscription are marked: their age is no delay of the feed."""
    content = coinbase(
        envelope("market_trades", {"type": "snapshot", "trades": [trade(1)]})
    ).content
    assert isinstance(content, Data)
    assert content.snapshot


def test_ticker_has_the_envelopes_time() -> None:
    """A ticker carries no time, id or size of its own."""
    ticker = {
        "type": "ticker",
        "product_id": "BTC-USD",
        "price": "68900.50",
        "best_bid": "68900",
        "best_ask": "",
    }
    (tick,) = ticks_of(coinbase(envelope("ticker", {"type": "update", "tickers": [ticker]})))
    assert tick.time_ns == parse_time("2026-04-07T14:30:03.05Z")
    assert (tick.price, tick.best_bid, tick.best_ask) == (68900.5, 68900.0, None)
    assert (tick.trade_id, tick.sequence, tick.size) == (None, None, None)


def test_a_bad_trade_spoils_only_itself() -> None:
    """The good trades of a message count, and the bad ones are told with field and reason."""
    trades = [trade(1), trade(2, price="-1"), trade(3, time="soon"), trade(4)]
    content = coinbase(envelope("market_trades", {"type": "update", "trades": trades})).content
    assert isinstance(content, Data)
    assert [tick.trade_id for tick in content.ticks] == [1, 4]
    assert [fault.field for fault in content.faults] == ["price", "time"]


@pytest.mark.parametrize("counter", [66987, "3049"])
def test_heartbeats(counter: object) -> None:
    """The counter is a number or a text, and the time one that Go prints."""
    event = {
        "current_time": "2024-10-04 07:04:40.820713045 +0000 UTC m=+66987.628148662",
        "heartbeat_counter": counter,
    }
    assert coinbase(envelope("heartbeats", event)).content == Heartbeat()


def test_confirmations() -> None:
    """A confirmation names each channel with its products, in both feeds."""
    subscriptions = {"market_trades": ["BTC-USD", "ETH-USD"], "heartbeats": ["heartbeats"]}
    advanced = coinbase(envelope("subscriptions", {"subscriptions": subscriptions})).content
    assert advanced == Confirmed(
        frozenset(
            {
                ("market_trades", "BTC-USD"),
                ("market_trades", "ETH-USD"),
                ("heartbeats", "heartbeats"),
            }
        )
    )
    channels = [{"name": "matches", "product_ids": ["BTC-USD"], "account_ids": None}]
    exchange = coinbase({"type": "subscriptions", "channels": channels}).content
    assert exchange == Confirmed(frozenset({("matches", "BTC-USD")}))


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ({"message": "authentication failure"}, Refusal("authentication failure")),
        (
            {"message": "Failed to subscribe", "reason": "X-Y is delisted"},
            Refusal("Failed to subscribe: X-Y is delisted", "X-Y"),
        ),
        (
            {"message": "Failed to subscribe", "reason": "ticket is not a valid channel"},
            Refusal("Failed to subscribe: ticket is not a valid channel"),
        ),
    ],
)
def test_errors(message: dict[str, str], refusal: Refusal) -> None:
    """Errors have no envelope; their words are kept, and the symbol that they name."""
    assert coinbase({"type": "error", **message}).content == refusal


@pytest.mark.parametrize("kind", ["match", "last_match", "ticker"])
def test_exchange_feed(kind: str) -> None:
    """The flat messages of the Exchange feed are ticks too, with id and sequence."""
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
    content = coinbase(fields).content
    assert isinstance(content, Data)
    (tick,) = content.ticks
    assert (tick.trade_id, tick.sequence, tick.size) == (1092969670, 136118091158, 9e-8)
    assert content.snapshot == (kind == "last_match")


def test_exchange_heartbeat() -> None:
    """Its last_trade_id is a sample and often 0: it says nothing but that the venue is there."""
    beat = {"type": "heartbeat", "last_trade_id": 0, "product_id": "ETH-EUR", "sequence": 1}
    assert coinbase(beat).content == Heartbeat()


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
    """A malformed message is one kind of error, with a reason that metrics may carry."""
    with pytest.raises(InvalidTickError) as caught:
        Coinbase().parse(raw, NOW_NS)
    assert caught.value.reason == "json"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "events", "trades", "tickers", "subscriptions", "product_id", "data"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    JSON,
    st.sampled_from(["market_trades", "ticker", "subscriptions", "heartbeats", "trade", "x", None]),
    st.sampled_from(["match", "error", "subscriptions", "snapshot", None]),
)
def test_whatever_comes_is_read_or_refused(events: Any, channel: Any, kind: Any) -> None:
    """No message, however strange, raises anything else."""
    message = {"channel": channel, "type": kind, "events": events, "data": events}
    message |= {"sequence_num": 1, "channels": events, "result": events, "method": kind}
    if channel is None:
        del message["channel"]
    for venue in (Coinbase(), Kraken()):
        with contextlib.suppress(InvalidTickError):
            venue.parse(json.dumps(message), NOW_NS)
        with contextlib.suppress(InvalidTickError):
            venue.parse_trades("BTC-USD", json.dumps(events).encode())


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_captured_session(path: Path) -> None:
    """Each message of a captured session is read; each match is a tick, ids without a hole."""
    kinds: dict[str, int] = {}
    ids: dict[str, list[int]] = {}
    with gzip.open(path, "rt") as file:
        for line in file:
            received, _, text = line.partition(": ")
            if not received.replace(".", "").isdigit():
                continue
            content = Coinbase().parse(text, NOW_NS).content
            kinds[type(content).__name__] = kinds.get(type(content).__name__, 0) + 1
            if isinstance(content, Data) and '"match"' in text:
                assert not content.faults
                for tick in content.ticks:
                    ids.setdefault(tick.symbol, []).append(tick.trade_id or 0)
    assert kinds == {"Confirmed": 3, "Data": 214, "Unused": 9729}
    assert sum(map(len, ids.values())) == 97
    for numbers in ids.values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_documented_messages(path: Path) -> None:
    """Each documented message is read, and is what its name says."""
    content = Coinbase().parse(path.read_text(), NOW_NS).content
    words = path.name.lower()
    if any(word in words for word in ("market_trades", "matches", "ws_ticker.json", "ticker_btc")):
        assert isinstance(content, Data)
        assert content.ticks
        assert not content.faults
    elif "heartbeat" in words:
        assert content == Heartbeat()
    elif "subscri" in words and "error" not in words:
        assert isinstance(content, Confirmed)
    else:
        assert isinstance(content, Refusal if "error" in words else Unused)


def test_rest_pages() -> None:
    """A hole is asked for from its oldest page on, and the answer is turned around."""
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


# --- Kraken -------------------------------------------------------------------------------


def test_kraken_trades() -> None:
    """Trades come as numbers, under names with a slash."""
    row = {
        "symbol": "BTC/USD",
        "side": "sell",
        "price": 68900.5,
        "qty": 40.0,
        "ord_type": "market",
        "trade_id": 4665906,
        "timestamp": "2026-04-07T14:30:02.708706Z",
    }
    content = kraken({"channel": "trade", "type": "update", "data": [row]}).content
    assert isinstance(content, Data)
    (tick,) = content.ticks
    assert (tick.symbol, tick.price, tick.size, tick.side) == ("BTC-USD", 68900.5, 40.0, "sell")
    assert (tick.trade_id, tick.source) == (4665906, "kraken")


def test_kraken_ticker_without_a_time() -> None:
    """A ticker that says no time has the time of its receipt."""
    row = {"symbol": "BTC/USD", "bid": 1.0, "ask": 3.0, "last": 2.5}
    content = kraken({"channel": "ticker", "type": "snapshot", "data": [row]}).content
    assert isinstance(content, Data)
    (tick,) = content.ticks
    assert (tick.time_ns, tick.feature_price, tick.price) == (NOW_NS, 2.0, 2.5)


def test_kraken_control_messages() -> None:
    """Receipts, refusals, heartbeats and the rest."""
    result = {"channel": "trade", "snapshot": True, "symbol": "BTC/USD"}
    receipt = {"method": "subscribe", "result": result, "success": True}
    assert kraken(receipt).content == Confirmed(frozenset({("trade", "BTC-USD")}))
    refusal = {"method": "subscribe", "success": False, "error": "not supported X/Y"}
    refused = kraken({**refusal, "symbol": "X/Y"}).content
    assert refused == Refusal("not supported X/Y", "X-Y")
    assert kraken({"channel": "heartbeat"}).content == Heartbeat()
    assert kraken({"channel": "status", "type": "update", "data": []}).content == Unused("status")


def test_kraken_rest() -> None:
    """The REST API has older names for some assets, and trades as lists."""
    url = Kraken().trades_url(TradeGap("BTC-USD", 1, 2, 1_000))
    assert url == "/0/public/Trades?pair=XBTUSD&since=999"
    row = ["105433.6", "0.00027625", 1762795433.9717445, "b", "l", "", 10218208]
    body = {"error": [], "result": {"XBTUSDT": [row], "last": "1762795433971744500"}}
    (tick,) = Kraken().parse_trades("BTC-USDT", json.dumps(body).encode())
    assert (tick.price, tick.side, tick.trade_id) == (105433.6, "buy", 10218208)
    with pytest.raises(InvalidTickError, match="Unknown asset pair"):
        Kraken().parse_trades("X", b'{"error":["EQuery:Unknown asset pair"]}')
