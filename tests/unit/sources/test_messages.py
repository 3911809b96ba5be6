"""Messages of venues in recordings, as collectors write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.reading import parsed, ticks_in
from volsvc.domain import NS, InvalidTickError, Tick, format_time
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.tables.options import RowOptions

START_NS = 1_767_571_200 * NS
TICKS = [
    Tick("ETH-USD", START_NS + i * NS // 4, 3_000.5 + i, None, None, 0.25 * i, None, 100 + i)
    for i in range(8)
]


def said(ticks: list[Any]) -> list[tuple[Any, ...]]:
    assert all(isinstance(tick, Tick) for tick in ticks), ticks
    return [(t.symbol, t.time_ns, t.price, t.size, t.trade_id) for t in ticks]


COINBASE = {
    "channel": "market_trades",
    "timestamp": "2026-01-05T00:00:00Z",
    "sequence_num": 3,
    "events": [
        {
            "type": "update",
            "trades": [
                {
                    "trade_id": str(100 + i),
                    "product_id": "ETH-USD",
                    "price": str(3000.5 + i),
                    "size": str(0.25 * i),
                    "side": "BUY",
                    "time": format_time(START_NS + i * NS // 4),
                }
                for i in range(len(TICKS))
            ],
        }
    ],
}
KRAKEN = {
    "channel": "trade",
    "type": "update",
    "data": [
        {
            "symbol": "ETH/USD",
            "price": 3000.5 + i,
            "qty": 0.25 * i,
            "trade_id": 100 + i,
            "timestamp": format_time(START_NS + i * NS // 4),
        }
        for i in range(len(TICKS))
    ],
}
BINANCE = [
    {
        "e": "trade",
        "E": 1,
        "s": "ETH-USD",
        "t": 100 + i,
        "p": str(3000.5 + i),
        "q": str(0.25 * i),
        "T": (START_NS + i * NS // 4) // 10**6,
        "m": True,
    }
    for i in range(len(TICKS))
]


@pytest.mark.parametrize("messages", [[COINBASE], [KRAKEN], BINANCE], ids=["c", "k", "b"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda message: message,
        lambda message: {"received_at": "2026-01-05T00:00:09Z", "payload": message},
        lambda message: {"source": "x", "raw": json.dumps(message)},
    ],
    ids=["plain", "inside", "text"],
)
def test_messages_of_venues(
    wrap: Callable[[Any], Any], messages: list[Any], tmp_path: Path
) -> None:
    """A line holds any number of ticks; receipts and heartbeats hold none, and are no faults."""
    path = tmp_path / "t.ndjson"
    others = [
        {"channel": "heartbeats", "sequence_num": 1, "events": []},
        {"channel": "heartbeat"},
        {"method": "subscribe", "success": False, "error": "no"},
        {"e": "kline", "s": "ETHUSDT", "k": {}},
    ]
    path.write_text("".join(json.dumps(wrap(one)) + "\n" for one in [*others, *messages]))
    assert said(parsed(path)) == said(TICKS)


def test_messages_without_ticks_are_counted(tmp_path: Path) -> None:
    """They are no rows; a ticker of Binance is one, also as the first line."""
    ticker = {"e": "24hrTicker", "E": 1767571200000, "s": "ETHUSDT", "c": "5", "b": "4", "a": "6"}
    ticker |= {"o": "1", "h": "9", "l": "1", "v": "7"}
    lines = [ticker, {"e": "kline", "s": "ETHUSDT", "k": {}}, {"channel": "heartbeat"}, ticker]
    path = tmp_path / "t.ndjson"
    path.write_text("\n".join(map(json.dumps, lines)))
    rows = list(Recording([path], RowOptions()).rows())
    assert [tick.price for tick in ticks_in(path)] == [5.0, 5.0]
    assert sum(step.others for step in rows) == 2


def test_the_time_of_a_collector(tmp_path: Path) -> None:
    """Messages of Kraken's ticker had no time of their own."""
    ticker = {"symbol": "ETH/USD", "last": 5.0, "bid": 4.0, "ask": 6.0}
    message = {"channel": "ticker", "type": "update", "data": [ticker]}
    path = tmp_path / "t.ndjson"
    path.write_text(json.dumps({"received_at": "2026-01-05T00:00:00Z", "raw": message}))
    assert [tick.time_ns for tick in ticks_in(path)] == [START_NS]


def test_a_bad_trade_of_a_message_costs_itself(tmp_path: Path) -> None:
    """The others are taken; a message without its parts is one fault."""
    bad = json.loads(json.dumps(COINBASE))
    bad["events"][0]["trades"][3]["price"] = "0"
    path = tmp_path / "t.ndjson"
    path.write_text(json.dumps(bad) + "\n" + json.dumps({**COINBASE, "events": 7}) + "\n")
    found = parsed(path)
    assert [isinstance(one, InvalidTickError) for one in found].count(True) == 2
    assert sum(isinstance(one, Tick) for one in found) == len(TICKS) - 1
