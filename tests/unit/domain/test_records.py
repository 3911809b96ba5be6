"""Conversion of records of files and feeds to ticks."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from typing import Any

import pytest

from volsvc.domain import NS, InvalidTickError, NotATickError, tick_from_record
from volsvc.domain.records import columns_of, missing_column

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
        {"base": "BTC", "quote": "USD", "Unix": TIME_NS // NS, "PRICE": "70000.5", "type": "limit"},
        {"instrument_name": "BTC-USD", "transact_time": TIME_NS // 10**6, "Last": 70000.5},
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
        ({"raw": "{"}, "raw"),
    ],
)
def test_errors_name_the_field(change: dict[str, Any], field: str) -> None:
    """An invalid value raises InvalidTickError with the name of its field."""
    with pytest.raises(InvalidTickError) as caught:
        tick_from_record({**GOOD, **change})
    assert caught.value.field == field


@pytest.mark.parametrize(
    "bad", ["x", -1, "1_0", "\uff11", [], {}, True, "nan", "1e400", 10**400, -(10**19)]
)
@pytest.mark.parametrize("field", ["best_bid", "best_ask", "size", "sequence", "side"])
def test_an_optional_field_costs_no_tick(field: str, bad: Any) -> None:
    """A field that is not needed and cannot be read is left out."""
    tick = tick_from_record({**GOOD, field: bad})
    assert (tick.price, getattr(tick, field)) == (70000.5, None)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((7, 7), ("7", 7), (" 7 ", 7), ("88000.0", 88000), (88000.0, 88000)),
        *((2**63 - 1, 2**63 - 1), (0, None), ("0", None), ("", None), (None, None)),
        *((1.5, None), (math.nan, None), (True, None), ([], None), ({}, None)),
    ],
)
@pytest.mark.parametrize("name", ["trade_id", "id", "agg_trade_id", "trdMatchID", "tradeId"])
def test_ids_that_are_numbers(name: str, value: Any, number: int | None) -> None:
    """Of any name; 0 stands for none."""
    tick = tick_from_record({**GOOD, name: value, "sequence": 5})
    assert (tick.trade_id, tick.sequence) == (number, 5)


def test_ids_that_are_no_numbers_tell_trades_apart() -> None:
    """UUIDs, hexadecimal and huge numbers take the place of a sequence; equal ones are equal."""
    uuid = "00000000-9b7d-4bad-9bdd-2b0d7b3dcb6d"
    values = (uuid, uuid[:-1] + "e", "5c24c5da03aa673885cd6700", "-1", -1, 2**63, "1_0", "x" * 500)
    ticks = [tick_from_record({**GOOD, "trade_id": v, "sequence": 5}) for v in values]
    assert all(tick.trade_id is None for tick in ticks)
    told = [tick.sequence for tick in ticks]
    assert len(set(told)) == len(values) - 1, "-1 is the same as a number and as a text"
    assert all(number is not None and 0 <= number < 2**63 for number in told)
    assert tick_from_record({**GOOD, "id": uuid}).sequence == told[0]


def test_quotes_are_enough() -> None:
    """The price of a record without one is the mid of both quotes."""
    quotes = {"symbol": "BTC-USD", "time": GOOD["time"], "bid": "70000", "best_ask_price": 70001}
    tick = tick_from_record(quotes)
    assert (tick.price, tick.best_bid, tick.best_ask) == (70000.5, 70000, 70001)
    for side in ("bid", "best_ask_price"):
        with pytest.raises(InvalidTickError, match="price"):
            tick_from_record({**quotes, side: 0})


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
    assert columns_of(["Timestamp", "PRICE", "volume"]) == {
        "time": "Timestamp",
        "price": "PRICE",
        "size": "volume",
    }
    assert missing_column(["Timestamp", "PRICE"], "X-USD") == ""
    assert missing_column(["time", "symbol"]).startswith("missing column 'price'")
    assert missing_column(["time", "price"]).startswith("missing column 'symbol'")
    text = missing_column(["\x1b[2J", "x" * 10_000])
    assert text.isprintable()
    assert len(text) < 600
