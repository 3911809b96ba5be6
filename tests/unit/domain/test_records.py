"""Conversion of records of files and feeds to ticks."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import pytest

from volsvc.domain import NS, InvalidTickError, NotATickError, SourceError, tick_from_record
from volsvc.domain.records import Schema

GOOD = {"symbol": "BTC-USD", "time": "2026-01-05T00:00:00Z", "price": "70000.5"}
TIME_NS = 1_767_571_200 * NS


@pytest.mark.parametrize(
    "record",
    [
        {"product_id": "BTC-USD", "timestamp": "2026-01-05T00:00:00Z", "price": 70000.5},
        {"pair": "BTC-USD", "ts": TIME_NS // 10**6, "last": "70000.5"},
        {"raw": json.dumps({**GOOD, "product_id": "BTC-USD"})},
        {"raw": GOOD, "received_at": "2026-01-05T00:00:01Z"},
        {**GOOD, "type": "ticker", "best_bid": "", "best_ask": "0", "trade_id": 0},
    ],
)
def test_aliases(record: dict[str, Any]) -> None:
    """Records with the field names of several feeds give the same tick."""
    tick = tick_from_record(record)
    assert (tick.symbol, tick.time_ns, tick.price) == ("BTC-USD", TIME_NS, 70000.5)
    assert (tick.best_bid, tick.best_ask, tick.trade_id) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"price": "abc"}, "price"),
        ({"price": "-1"}, "price"),
        ({"price": "1_0"}, "price"),
        ({"price": "\uff11\uff10"}, "price"),
        ({"price": "٣.5"}, "price"),
        ({"best_bid": "1_0"}, "best_bid"),
        ({"best_ask": "\uff11"}, "best_ask"),
        ({"size": "1_0"}, "size"),
        ({"trade_id": "1_0"}, "trade_id"),
        ({"trade_id": 1.0}, "trade_id"),
        ({"sequence": "\uff11"}, "sequence"),
        ({"price": 0}, "price"),
        ({"price": "nan"}, "price"),
        ({"price": "1e400"}, "price"),
        ({"price": 10**400}, "price"),
        ({"price": None}, "price"),
        ({"price": True}, "price"),
        ({"price": [1]}, "price"),
        ({"price": 1e300}, "price"),
        ({"time": ""}, "time"),
        ({"time": "yesterday"}, "time"),
        ({"time": 12}, "time"),
        ({"time": {}}, "time"),
        ({"symbol": ""}, "symbol"),
        ({"symbol": "BTC USD\n"}, "symbol"),
        ({"symbol": 7}, "symbol"),
        ({"symbol": "x" * 65}, "symbol"),
        ({"best_bid": "x"}, "best_bid"),
        ({"best_ask": -1}, "best_ask"),
        ({"size": -1}, "size"),
        ({"trade_id": "x"}, "trade_id"),
        ({"sequence": -1}, "sequence"),
        ({"raw": "{"}, "raw"),
    ],
)
def test_errors_name_the_field(change: dict[str, Any], field: str) -> None:
    """An invalid value raises InvalidTickError with the name of its field."""
    with pytest.raises(InvalidTickError) as caught:
        tick_from_record({**GOOD, **change})
    assert caught.value.field == field


def test_the_name_of_a_source_can_be_written_again() -> None:
    """Half of a surrogate pair in it becomes a question mark, and the price is taken."""
    tick = tick_from_record(json.loads(json.dumps({**GOOD, "source": "a\ud800" + "b" * 70})))
    assert tick.source == "a?" + "b" * 62
    assert tick.price == 70000.5


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("field", [*GOOD, "best_bid", "size", "side", "trade_id", "type", "source"])
def test_values_nested_as_deep_as_json_goes(field: str) -> None:
    """Each value that can be decoded is refused or passed over, whatever its depth."""
    limit = sys.getrecursionlimit()
    for depth in range(limit // 2, limit, 3):
        try:
            value = json.loads(nested(depth))
        except RecursionError:
            return
        with contextlib.suppress(InvalidTickError, NotATickError):
            tick_from_record({**GOOD, field: value}).source.encode()


def test_control_messages() -> None:
    """A control message raises NotATickError, unlike an invalid tick."""
    with pytest.raises(NotATickError):
        tick_from_record({"type": "subscriptions", "channels": []})


def test_columns() -> None:
    """Column names match regardless of case; an error names a missing column."""
    schema = Schema.of_columns(["Timestamp", "PRICE", "volume"], "X-USD")
    row = {"Timestamp": "2026-01-05T00:00:00Z", "PRICE": "1", "volume": "2"}
    assert schema.tick(row, "csv").size == 2
    with pytest.raises(SourceError, match="missing column 'price'"):
        Schema.of_columns(["time", "symbol"])
    with pytest.raises(SourceError, match="missing column 'symbol'"):
        Schema.of_columns(["time", "price"])
    with pytest.raises(SourceError) as caught:
        Schema.of_columns(["\x1b[2J", "x" * 10_000])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
