"""From what files and feeds write to ticks, and times."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volsvc.domain import (
    InvalidTickError,
    NotATickError,
    SourceError,
    Tick,
    format_time,
    parse_time,
    tick_from_fields,
    tick_from_record,
)
from volsvc.domain.records import Schema
from volsvc.domain.times import EARLIEST_NS, LATEST_NS
from volsvc.transport import Record
from volsvc.transport.codec import decode_position, decode_tick, encode_position, encode_tick

GOOD = {"symbol": "BTC-USD", "time": "2026-01-05T00:00:00Z", "price": "70000.5"}
TIME_NS = 1_767_571_200 * 10**9
finite = st.floats(1e-12, 1e12)


@given(st.integers(EARLIEST_NS, LATEST_NS - 1))
def test_times_survive_a_round_trip(time_ns: int) -> None:
    """Every nanosecond is written and read back, ends in Z, and agrees with datetime."""
    text = format_time(time_ns)
    assert text.endswith("Z")
    assert parse_time(text) == time_ns
    moment = datetime.fromisoformat(text[:-1][:26]).replace(tzinfo=UTC)
    assert int(moment.timestamp()) == time_ns // 10**9


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-05T00:00:00Z",
        "2026-01-05 00:00:00",
        "2026-01-05T00:00:00.000000000Z",
        "2026-01-05T01:00:00+01:00",
        "2026-01-05T00:00:00 UTC",
        1_767_571_200,
        1_767_571_200.0,
        "1767571200",
        "1767571200.000",
        1_767_571_200_000,
        1_767_571_200_000_000,
        1_767_571_200_000_000_000,
    ],
)
def test_ways_to_write_a_time(text: Any) -> None:
    """RFC 3339 with any zone, and epoch numbers in s, ms, µs and ns, are one time."""
    assert parse_time(text) == TIME_NS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-13-01T00:00:00Z",
        "2026-01-05T00:00:61Z",
        0,
        5,
        -1,
        "nan",
        "1e9",
        True,
        1e300,
    ],
)
def test_no_times(text: Any) -> None:
    """Anything else is refused, a wrong unit included."""
    with pytest.raises((ValueError, OverflowError)):
        parse_time(text)


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
    """The names of several feeds give the same tick."""
    tick = tick_from_record(record)
    assert (tick.symbol, tick.time_ns, tick.price) == ("BTC-USD", TIME_NS, 70000.5)
    assert (tick.best_bid, tick.best_ask, tick.trade_id) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"price": "abc"}, "price"),
        ({"price": "-1"}, "price"),
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
def test_faults_name_the_field(change: dict[str, Any], field: str) -> None:
    """A bad value is an error that names its field."""
    with pytest.raises(InvalidTickError) as caught:
        tick_from_record({**GOOD, **change})
    assert caught.value.field == field


def test_control_messages_are_no_ticks() -> None:
    """Subscriptions and heartbeats are told apart from bad ticks."""
    with pytest.raises(NotATickError):
        tick_from_record({"type": "subscriptions", "channels": []})


def test_columns() -> None:
    """Column names match without regard to case; a missing one is named with its aliases."""
    schema = Schema.of_columns(["Timestamp", "PRICE", "volume"], "X-USD")
    row = {"Timestamp": "2026-01-05T00:00:00Z", "PRICE": "1", "volume": "2"}
    assert schema.tick(row, "csv").size == 2
    with pytest.raises(SourceError, match="missing column 'price'"):
        Schema.of_columns(["time", "symbol"])
    with pytest.raises(SourceError, match="missing column 'symbol'"):
        Schema.of_columns(["time", "price"])


def record_of(value: bytes | None, **more: Any) -> Record:
    return Record("ticks.raw", 0, 0, more.pop("key", b"A"), value, **more)


@given(
    st.builds(
        Tick,
        symbol=st.from_regex(r"[A-Z0-9]{1,8}-[A-Z]{3,4}", fullmatch=True),
        time_ns=st.integers(EARLIEST_NS, LATEST_NS - 1),
        price=finite,
        best_bid=st.none() | finite,
        best_ask=st.none() | finite,
        size=st.none() | st.floats(0, 1e12),
        side=st.sampled_from([None, "buy", "sell"]),
        trade_id=st.none() | st.integers(1, 2**63 - 1),
        sequence=st.none() | st.integers(0, 2**63 - 1),
        source=st.sampled_from(["", "csv", "ndjson"]),
    )
)
def test_a_tick_keeps_every_bit_on_the_wire(tick: Tick) -> None:
    """What is decoded is what was encoded."""
    sent = encode_tick(tick, encode_position("file@1:2", 7))
    got = record_of(sent.value, headers=sent.headers, key=sent.key)
    assert decode_tick(got) == tick
    assert decode_position(got, "file@1:2") == 7
    assert decode_position(got, "other") is None


NUMBERS = st.floats(1e-9, 1e9) | st.sampled_from(
    [None, 0, -0.0, -1, 1e-15, 9e-16, 1e15, 2e15, 5, 7.5]
)


@settings(max_examples=2_000)
@given(
    st.fixed_dictionaries(
        {
            "symbol": st.sampled_from(["A", "BTC-USD", "BTC USD", "A" * 64, "A" * 65, "A\n", ""]),
            "time": st.sampled_from(
                [
                    "2026-01-05T00:00:00.5Z",
                    "2026-01-05T00:00:00.123456789Z",
                    "2026-01-05T00:00:00.1234567891Z",
                    "2026-01-05 00:00:59.000Z",
                    "2026-01-05T00:00:61.000Z",
                    "2026-01-05T00:00:00.Z",
                    "2026-01-05T00:00:00. 1Z",
                    "2026-01-05T00:00:00.\u0661Z",
                    "2008-12-31T23:59:59.999Z",
                    "2100-01-01T00:00:00.000Z",
                    "1767571200000000000.5Z",
                    "2026-01-05T00:00:00Z",
                    "1767571200.5",
                ]
            ),
            "price": NUMBERS,
            "best_bid": NUMBERS,
            "best_ask": NUMBERS,
            "size": NUMBERS,
            "side": st.sampled_from([None, "buy", "sell", "BUY", " sell", "both"]),
            "trade_id": st.sampled_from([None, 0, 1, -1, 2**63 - 1, 2**63]),
            "sequence": st.sampled_from([None, 0, 1, -1, 2**63 - 1, 2**63]),
            "source": st.sampled_from(["", "csv", "x" * 64, "x" * 65]),
        }
    )
)
def test_the_quick_reader_is_the_careful_one(fields: dict[str, Any]) -> None:
    """What is read at once is what would be read with care; the rest is refused as ever."""
    text, key = json.dumps(fields).encode(), fields["symbol"].strip().encode()
    quick = outcome_of(lambda: decode_tick(record_of(text, key=key)))
    assert quick == outcome_of(lambda: tick_from_fields(fields, None, fields["source"][:64]))


def outcome_of(read: Callable[[], Tick]) -> str:
    """The tick, to the sign of a zero, or what is wrong with it."""
    try:
        return repr(read())
    except InvalidTickError as error:
        return repr((error.field, error.reason))


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_tick_or_an_error(value: bytes) -> None:
    """Nothing that a topic may hold raises anything else."""
    with pytest.raises((InvalidTickError, NotATickError)):
        decode_tick(record_of(value))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["symbol", "time", "price", "raw", "type", "v", "size", "trade_id"]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_a_tick_or_an_error(value: Any) -> None:
    """Nor does any JSON, whatever stands where a number should."""
    with contextlib.suppress(InvalidTickError, NotATickError):
        decode_tick(record_of(json.dumps(value).encode()))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null"),
        (b"", "json"),
        (b"[1]", "json"),
        (b"\xff\xfe", "json"),
        (b"[" * 100_000, "json"),
        (b" " * 300_000, "too_large"),
        (b'{"v": 2, "symbol": "A", "time": 1767571200, "price": 1}', "version"),
        (b'{"symbol": "A", "time": 1767571200, "price": 1' + b"0" * 5_000 + b"}", "json"),
    ],
    ids=range(8),
)
def test_records_that_are_none(value: bytes | None, reason: str) -> None:
    """Each undecodable record has a bounded reason."""
    with pytest.raises(InvalidTickError) as caught:
        decode_tick(record_of(value))
    assert caught.value.reason == reason


@pytest.mark.parametrize("key", [None, b"B", b"\xff"])
def test_a_key_is_the_symbol(key: bytes | None) -> None:
    """A tick under another key, or none, is refused: it may be in another partition."""
    value = b'{"symbol": "A", "time": 1767571200, "price": 1}'
    assert decode_tick(record_of(value)).symbol == "A"
    with pytest.raises(InvalidTickError) as caught:
        decode_tick(record_of(value, key=key))
    assert caught.value.reason == "key"
