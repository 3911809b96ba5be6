"""Tests of Kraken: its messages, and its feed through a server that speaks its protocol."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.live.feed import SYMBOL, WATCHED, Feed, listening, trades
from tests.live.kraken_server import kraken
from volsvc.config.settings import SourceSettings
from volsvc.config.warmup import WarmupSettings
from volsvc.domain import NS, InvalidTickError, parse_time
from volsvc.domain.minute_bars import BarSeries
from volsvc.sources.generated_past import past_bars
from volsvc.sources.generator import GeneratorSpec
from volsvc.sources.live.kraken import Kraken
from volsvc.sources.live.venue import (
    ErrorMessage,
    Heartbeat,
    IgnoredMessage,
    MarketData,
    Message,
    Subscription,
    SubscriptionAck,
    TradeGap,
)

NOW_NS = parse_time("2026-04-07T14:30:04Z")


def assert_whole(feed: Feed) -> None:
    """Assert that the trades are complete and in order."""
    assert feed.ids == list(range(1_000, 1_000 + len(feed.ids)))
    quality = feed.table.get(SYMBOL).quality()
    assert (quality.gaps, quality.duplicates, quality.late) == (0, 0, 0)


async def test_loss_and_disconnect() -> None:
    """Lost trades and those of an outage are fetched over REST, each once and in order."""
    ticks = trades(40, 2)
    async with kraken(ticks, frozenset({20, 21}), drop_at=50) as server:
        keys = SourceSettings(**{**server.keys, **WATCHED})
        async with listening(keys, venue=Kraken()) as feed:
            await feed.until(lambda: len(feed.rows) == len(ticks), "all trades")
            assert_whole(feed)
            assert feed.metric("volsvc_feed_backfilled_trades_total") == 3
            assert feed.metric('volsvc_feed_reconnects_total{reason="closed"}') == 1
            assert {row.tick.source for row in feed.rows} == {"kraken"}


async def test_it_begins_with_the_candles_that_there_are() -> None:
    """The venue has those of twelve hours; minutes without trades and the current one are none."""
    ticks = trades(40, 2)
    first = ticks[0].time_ns // (60 * NS)
    made = past_bars(SYMBOL, GeneratorSpec((SYMBOL,), 7, ticks[0].time_ns), 1)
    traded = BarSeries(np.delete(made.minutes, [-5, -300]), np.delete(made.values, [-5, -300], 0))
    async with kraken(ticks, frozenset(), drop_at=-1) as server:
        server.bars = traded
        keys = SourceSettings(**{**server.keys, **WATCHED})
        async with listening(keys, venue=Kraken(), warmup=WarmupSettings()) as feed:
            await feed.until(lambda: len(feed.rows) == len(ticks), "all trades")
            assert_whole(feed)
            past = feed.rows[0].past
            assert past is not None
            expected = traded.between(first - 719, first)
            assert past.bars.minutes.tolist() == expected.minutes.tolist()
            np.testing.assert_allclose(past.bars.values, expected.values, atol=1e-8)


async def test_one_unknown_symbol() -> None:
    """A symbol that the venue refuses by name is shown by /health; the others are not affected."""
    async with kraken(trades(10, 2), frozenset(), drop_at=-1) as server:
        keys = SourceSettings(**{**server.keys, **WATCHED})
        async with listening(keys, (SYMBOL, "BTC-MARS"), Kraken()) as feed:
            await feed.until(lambda: len(feed.rows) == 20, "all trades")
            check = feed.health.checks["feed:BTC-MARS"]
            assert (check.status, check.detail) == (
                "degraded",
                "Currency pair not supported BTC/MARS",
            )
            assert feed.health.checks["feed:0"].status == "ok"
            assert feed.metric("volsvc_feed_reconnects_total") == 0


async def test_only_unknown_symbols() -> None:
    """The connection ends as refused if no symbol is left."""
    async with kraken([], frozenset(), drop_at=-1) as server:
        keys = SourceSettings(**{**server.keys, **WATCHED})
        async with listening(keys, ("BTC-MARS", "BTC-MOON"), Kraken()) as feed:
            reason = 'volsvc_feed_reconnects_total{reason="refused"}'
            await feed.until(lambda: feed.metric(reason) >= 1, "the refusal")


async def test_the_venues_own_spelling() -> None:
    """Each form of a symbol's name is the same symbol, and ticks have ours."""
    async with kraken(trades(10, 2), frozenset(), drop_at=-1) as server:
        keys = SourceSettings(**{**server.keys, **WATCHED})
        async with listening(keys, ("BTC/USD", SYMBOL), Kraken()) as feed:
            await feed.until(lambda: len(feed.rows) == 20, "all trades")
            assert {row.tick.symbol for row in feed.rows} == {SYMBOL}
            check = feed.health.checks["feed:0"]
            assert (check.status, check.detail) == ("ok", "1 symbols")
            assert feed.health.silent == set()


def parse(message: Any) -> Message:
    return Kraken().parse(json.dumps(message), NOW_NS)


def test_trades() -> None:
    """Trades have numbers for prices, and symbols with a slash, which become ours."""
    row = {
        "symbol": "BTC/USD",
        "side": "sell",
        "price": 68900.5,
        "qty": 40.0,
        "ord_type": "market",
        "trade_id": 4665906,
        "timestamp": "2026-04-07T14:30:02.708706Z",
    }
    content = parse({"channel": "trade", "type": "update", "data": [row]}).content
    assert isinstance(content, MarketData)
    (tick,) = content.ticks
    assert (tick.symbol, tick.price, tick.size, tick.side) == ("BTC-USD", 68900.5, 40.0, "sell")
    assert (tick.trade_id, tick.source) == (4665906, "kraken")


def test_ticker_without_a_time() -> None:
    """A ticker without a time gets the time of its receipt."""
    row = {"symbol": "BTC/USD", "bid": 1.0, "ask": 3.0, "last": 2.5}
    content = parse({"channel": "ticker", "type": "snapshot", "data": [row]}).content
    assert isinstance(content, MarketData)
    (tick,) = content.ticks
    assert (tick.time_ns, tick.feature_price, tick.price) == (NOW_NS, 2.0, 2.5)


def test_control_messages() -> None:
    """Acknowledgements, errors, heartbeats and other messages are told apart."""
    result = {"channel": "trade", "snapshot": True, "symbol": "BTC/USD"}
    receipt = {"method": "subscribe", "result": result, "success": True}
    assert parse(receipt).content == SubscriptionAck(frozenset({Subscription("trade", "BTC-USD")}))
    refused = {"method": "subscribe", "success": False, "error": "not supported X/Y"}
    error = parse({**refused, "symbol": "X/Y"}).content
    assert error == ErrorMessage("not supported X/Y", "X-Y")
    assert parse({"channel": "heartbeat"}).content == Heartbeat()
    assert parse({"channel": "status", "type": "update", "data": []}).content == IgnoredMessage(
        "status"
    )


def test_rest() -> None:
    """The REST API has other names for some assets, and trades as lists."""
    url = Kraken().trades_url(TradeGap("BTC-USD", 1, 2, 1_000))
    assert url == "/0/public/Trades?pair=XBTUSD&since=999"
    row = ["105433.6", "0.00027625", 1762795433.9717445, "b", "l", "", 10218208]
    body = {"error": [], "result": {"XBTUSDT": [row], "last": "1762795433971744500"}}
    (tick,) = Kraken().parse_trades("BTC-USDT", json.dumps(body).encode())
    assert (tick.price, tick.side, tick.trade_id) == (105433.6, "buy", 10218208)
    with pytest.raises(InvalidTickError, match="Unknown asset pair"):
        Kraken().parse_trades("X", b'{"error":["EQuery:Unknown asset pair"]}')
