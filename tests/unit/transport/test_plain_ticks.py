"""Ticks read by the kernel, held against the decoder of single records."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volsvc.domain import Tick
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.domain.times import EARLIEST_NS, LATEST_NS
from volsvc.features.kernels.apply import TICK
from volsvc.features.tick_batch import tick_batch
from volsvc.transport import OutRecord, Record
from volsvc.transport.codec import decode_tick, encode_tick
from volsvc.transport.kernels.json_text import decimal
from volsvc.transport.kernels.plain_ticks import NOT_PLAIN
from volsvc.transport.name_index import NameIndex
from volsvc.transport.plain_ticks import read_plain

ROWS = {"A": 4, "BTC-USD": 0, "比特币-USDT": 7, "S" * 64: 2}
SOURCES = {"csv": 0, "kraken": 1}

prices = st.floats(1e-15, 1e15) | st.integers(1, 10**12).map(lambda cents: cents / 100)
ids = st.integers(1, 2**63 - 1) | st.sampled_from([2**53, 2**63 - 8, 2**63 - 9])
ticks = st.builds(
    Tick,
    symbol=st.sampled_from([*ROWS, "unknown"]),
    time_ns=st.integers(EARLIEST_NS, LATEST_NS - 1),
    price=prices,
    best_bid=st.none() | prices,
    best_ask=st.none() | prices,
    size=st.none() | st.floats(0, 1e300) | prices,
    side=st.sampled_from([None, "buy", "sell"]),
    trade_id=st.none() | ids,
    sequence=st.none() | ids,
    source=st.sampled_from([*SOURCES, "", "x" * 64, "é", 'a"b', "a\\b", "a\nb", "\x7f"]),
)
# As digits of JSON, and as some that are not.
numbers = st.from_regex(r"-?[0-9]{0,20}(\.[0-9]{0,24})?([eE][0-9])?", fullmatch=True)
middles = st.integers(2**52, 2**53).map(lambda whole: f"{whole}.5")
texts = st.sampled_from(
    ["null", "0", "0.0", "-0.0", "01", "1.", "1e3", "true", '"1"', "1e400", "9007199254740993"]
)
two_digits = st.integers(0, 99).map("{:02}".format) | st.sampled_from(["00", "29", "31", "1 "])
times = st.builds(
    '"{}-{}-{}T{}:{}:{}.{}Z"'.format,
    st.sampled_from(["2024", "2023", "2009", "2008", "2099", "2100", "1969", "0000", "20a4"]),
    *(st.sampled_from(["01", "02", "12"]) | two_digits for _ in range(5)),
    st.from_regex("[0-9]{0,10}", fullmatch=True),
)
other_fields = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            ("price", "best_bid", "best_ask", "size", "trade_id", "sequence", "v"),
            numbers | middles | texts,
        ),
        "time": times,
        "side": st.sampled_from(['"buy"', '"both"', '""', "0", "nul"]),
        "source": st.sampled_from(['"csv"', f'"{"x" * 65}"', '"\\u0041"', "null"]),
    },
)


def read(sent: Sequence[OutRecord | Record]) -> Any:
    batch = np.zeros(len(sent), TICK)
    keys = [record.key for record in sent]
    read_plain([r.value for r in sent], keys, NameIndex(ROWS), NameIndex(SOURCES), batch)
    return batch


def check(sent: Sequence[OutRecord]) -> None:
    """Each record is read as the decoder of single records reads it, or not plain."""
    for record, found in zip(sent, read(sent), strict=True):
        if found.symbol != NOT_PLAIN:
            tick = decode_tick(Record("ticks", 0, 0, record.key, record.value))
            assert tick.trade_id is not None
            columns = columns_of_ticks([tick])
            assert found == tick_batch(columns, [ROWS[tick.symbol]], SOURCES)[0]


def with_fields(record: OutRecord, fields: dict[str, str]) -> OutRecord:
    """Replace values of a tick's fields by JSON texts."""
    assert record.value is not None
    parts = {name: json.dumps(value) for name, value in json.loads(record.value).items()}
    content = ",".join(f'"{name}":{text}' for name, text in {**parts, **fields}.items())
    return record._replace(value=f"{{{content}}}".encode())


@given(st.lists(ticks, max_size=5))
def test_ticks_are_read_as_the_decoder_reads_them(sent: list[Tick]) -> None:
    """Ticks of every kind, as we write them."""
    check([encode_tick(tick) for tick in sent])


@settings(max_examples=500)
@given(st.lists(st.tuples(ticks, other_fields), min_size=1, max_size=3))
def test_other_values_are_read_as_the_decoder_reads_them(
    sent: list[tuple[Tick, dict[str, str]]],
) -> None:
    """Values that we do not write, some of which are no JSON or out of bounds."""
    check([with_fields(encode_tick(tick), fields) for tick, fields in sent])


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes of which one was inserted, deleted or replaced, or that end early."""
    at = draw(st.integers(0, len(content)))
    new = draw(st.integers(0, 255) | st.sampled_from(b'0123456789,.:"{}-eZ\n\\'))
    more = draw(st.sampled_from([b"", bytes([new])]))
    return content[:at] + more + draw(st.sampled_from([content[at:], content[at + 1 :], b""]))


@st.composite
def mutated_records(draw: st.DrawFn) -> OutRecord:
    """A record with another value, another key, or both."""
    record = encode_tick(draw(ticks))
    assert record.value is not None
    values = st.none() | st.just(record.value) | mutated(record.value)
    keys = st.just(record.key) | mutated(record.key) | st.sampled_from([*map(str.encode, ROWS)])
    return record._replace(value=draw(values), key=draw(keys))


@settings(max_examples=500)
@given(st.lists(mutated_records(), max_size=4))
def test_mutated_records_are_read_as_the_decoder_reads_them(sent: list[OutRecord]) -> None:
    """A record with a byte more, less or another one, beside others, never reaches into them."""
    check(sent)


@given(
    st.builds(
        Tick,
        symbol=st.sampled_from([*ROWS]),
        time_ns=st.integers(EARLIEST_NS, LATEST_NS - 1),
        price=st.floats(1e-4, 1e12),
        best_bid=st.none() | st.floats(1e-4, 1e12),
        best_ask=st.none() | st.floats(1e-4, 1e12),
        size=st.none() | st.just(0.0) | st.floats(1e-4, 1e12),
        side=st.sampled_from([None, "buy", "sell"]),
        trade_id=st.integers(1, 2**63 - 9),
        sequence=st.none() | st.integers(0, 2**63 - 9),
        source=st.sampled_from([*SOURCES, "", "x" * 64]),
    )
)
def test_ordinary_ticks_are_plain(tick: Tick) -> None:
    """Whatever has a trade id and no exponents is read without the decoder."""
    assert read([encode_tick(tick)])["symbol"].tolist() == [ROWS[tick.symbol]]


@settings(max_examples=1_000)
@given(numbers | middles | texts | st.floats(0, 1e20).map(repr))
def test_decimals_are_rounded_as_python_rounds_them(text: str) -> None:
    """A decimal is the nearest double, as of `float`, or is left to the decoder."""
    value, end = decimal(np.frombuffer(text.encode() + b"\n", np.uint8), 0)
    if end >= 0:
        assert float(json.loads(text[:end])) == value
        assert math.copysign(1.0, value) == 1.0


def test_most_decimals_of_seventeen_digits_are_certain() -> None:
    """Doubt about the last bit is rare, and half of the way between two doubles."""
    values = np.random.default_rng(1).uniform(1e3, 1e5, 2_000)
    sure = [decimal(np.frombuffer(f"{v:.13f}\n".encode(), np.uint8), 0)[0] for v in values.tolist()]
    assert sure == [float(f"{v:.13f}") for v in values.tolist()]


@pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="nothing is compiled")
def test_nothing_is_read_beyond_the_bounds(tmp_path: Path) -> None:
    """With numba's own checks of all indices no test of mutated records fails."""
    if os.environ.get("NUMBA_BOUNDSCHECK") == "1":
        pytest.skip("the checks are on already")
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-k",
        "mutated",
    ]
    done = subprocess.run(
        [*command, __file__], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
