"""Encoding and decoding of the records of topics."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volsvc.domain import InvalidTickError, NotATickError, Tick, tick_from_fields
from volsvc.domain.times import EARLIEST_NS, LATEST_NS
from volsvc.transport import Record
from volsvc.transport.codec import (
    dead_letter,
    decode_position,
    decode_tick,
    encode_position,
    encode_tick,
)

finite = st.floats(1e-12, 1e12)
NUMBERS = st.floats(1e-9, 1e9) | st.sampled_from(
    [None, 0, -0.0, -1, 1e-15, 9e-16, 1e15, 2e15, 5, 7.5]
)


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
def test_ticks_round_trip(tick: Tick) -> None:
    """A decoded tick equals the encoded one, and so does its position."""
    sent = encode_tick(tick, encode_position("file@1:2", 7))
    got = record_of(sent.value, headers=sent.headers, key=sent.key)
    assert decode_tick(got) == tick
    assert decode_position(got, "file@1:2") == 7
    assert decode_position(got, "other") is None


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
def test_both_readers_of_ticks_agree(fields: dict[str, Any]) -> None:
    """The fast reader of a record gives the tick, or the error, of `tick_from_fields`."""
    text, key = json.dumps(fields).encode(), fields["symbol"].strip().encode()
    fast = outcome_of(lambda: decode_tick(record_of(text, key=key)))
    assert fast == outcome_of(lambda: tick_from_fields(fields, None, fields["source"][:64]))


def outcome_of(read: Callable[[], Tick]) -> str:
    """Return the tick, including the signs of zeros, or its error as text."""
    try:
        return repr(read())
    except InvalidTickError as error:
        return repr((error.field, error.reason))


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_random_bytes(value: bytes) -> None:
    """Random bytes raise InvalidTickError or NotATickError, and nothing else."""
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
def test_random_json(value: Any) -> None:
    """Random JSON gives a tick, InvalidTickError or NotATickError."""
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
def test_invalid_records(value: bytes | None, reason: str) -> None:
    """Each kind of invalid record has its reason."""
    with pytest.raises(InvalidTickError) as caught:
        decode_tick(record_of(value))
    assert caught.value.reason == reason


@pytest.mark.parametrize("field", ["v", "type", "source", "price", "raw"])
def test_nested_records(field: str) -> None:
    """A record that is nested as deep as can be decoded is refused, or its source is a text."""
    limit = sys.getrecursionlimit()
    for depth in range(limit // 2, limit, 3):
        nest = "[" * depth + "]" * depth
        value = f'{{"symbol":"A","time":1767571200,"price":1,"{field}":{nest}}}'
        record = record_of(value.encode(), key=b"A")
        try:
            encode_tick(decode_tick(record))
        except (InvalidTickError, NotATickError) as error:
            dead_letter(record, error)


def test_half_a_surrogate_pair() -> None:
    """A nested message may hold one: the tick and a dead letter can still be written."""
    inner = json.dumps({"symbol": "A", "time": 1767571200, "price": 1, "source": "\ud800"})
    tick = decode_tick(record_of(json.dumps({"raw": inner}).encode(), key=b"A"))
    assert b'"source":"?"' in (encode_tick(tick).value or b"")
    error = InvalidTickError("source", "\ud800" * 5_000)
    ((_, text), *_) = [h for h in dead_letter(record_of(b""), error).headers if "error" in h[0]]
    assert text.decode().startswith("field 'source': ???")
    assert len(text) == 1_000


@pytest.mark.parametrize("key", [None, b"B", b"\xff"])
def test_the_key_must_be_the_symbol(key: bytes | None) -> None:
    """A tick with another key, or none, is refused, as its partition may be wrong."""
    value = b'{"symbol": "A", "time": 1767571200, "price": 1}'
    assert decode_tick(record_of(value)).symbol == "A"
    with pytest.raises(InvalidTickError) as caught:
        decode_tick(record_of(value, key=key))
    assert caught.value.reason == "key"
