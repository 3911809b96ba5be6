"""Records of features and outcomes: every field of what they hold is in them, to the last bit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.variations import FORECAST, SNAPSHOT, published_variations, variations
from volsvc.domain import NS, IssuedForecast, Outcome, PointForecast, format_time
from volsvc.transport import OutRecord, Record
from volsvc.transport.codec import (
    POSITION_HEADER,
    PublishedState,
    decode_position,
    encode_features,
    encode_outcome,
    encode_position,
)
from volsvc.transport.features_record import (
    OFFSET_HEADER,
    WRITER_HEADER,
    decode_snapshot,
    read_header,
)

FORECASTS = dict(published_variations())
OUTCOME = Outcome(
    IssuedForecast("BTC-USD", "ml", "1", 29_459_520, 5, 1e-3, 5e-4, 2e-3, 1.5e-3, 0.1),
    realised=1.2e-3,
    qlike=0.3,
    covered=True,
    brier=0.04,
)
PROCESSED_NS = 1_767_571_202_123_456_789


def sent(forecast: PointForecast, processed_ns: int = PROCESSED_NS) -> OutRecord:
    state = PublishedState(3, 7, None, b"content")
    return encode_features(forecast, state, format_time(processed_ns), "writer#1")


def received(record: OutRecord) -> Record:
    return Record("ticks.features", 3, 40, record.key, record.value, headers=record.headers)


@pytest.mark.parametrize("path", FORECASTS)
def test_other_instances_read_the_snapshot_of_the_owner(path: str) -> None:
    """A forecast that differs in one field reaches the other instances with that field."""
    snapshot = FORECAST.snapshot()
    found = decode_snapshot(received(sent(FORECASTS[path]))).snapshot
    assert found == FORECASTS[path].snapshot() != snapshot
    assert decode_snapshot(received(sent(FORECAST))).snapshot == snapshot


@given(st.integers(1_767_571_200 * NS, 1_800_000_000 * NS))
def test_times_keep_their_nanoseconds(time_ns: int) -> None:
    """The times of tick and of processing, on which an ETag rests, are those of the owner."""
    forecast = FORECAST._replace(row=FORECAST.row._replace(time_ns=time_ns))
    found = decode_snapshot(received(sent(forecast, time_ns)))
    assert (found.snapshot.row.time_ns, found.processed_ns) == (time_ns, time_ns)


def test_every_field_of_an_outcome_is_published() -> None:
    """An outcome that differs in one field has another record."""
    records = [encode_outcome(other).value for _, other in variations(OUTCOME)]
    records.append(encode_outcome(OUTCOME).value)
    assert len(set(records)) == len(records)


def test_rows_and_forecasts_have_every_field() -> None:
    """A row or a forecast that differs in one field has other JSON, as in `/history`."""
    samples: tuple[Any, ...] = (SNAPSHOT.row, SNAPSHOT.predictions[0])
    for record in samples:
        shown = [msgspec.json.encode(record.fields())]
        shown += [msgspec.json.encode(other.fields()) for _, other in variations(record)]
        assert len(set(shown)) == len(shown)


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode), st.booleans())
@example("²".encode(), True)
@example(b"9" * 5_000, True)
def test_headers_of_others_are_not_ours(value: bytes, prefix: bool) -> None:
    """A header of any bytes is a number of ours or none; it never stops its reader."""
    position = b"file@1:" + value if prefix else value
    ticks = Record("ticks.raw", 0, 0, b"A", b"{}", headers=((POSITION_HEADER, position),))
    found = decode_position(ticks, "file@1")
    assert found is None or (prefix and found == int(value))
    headers = ((OFFSET_HEADER, value), (WRITER_HEADER, value))
    header = read_header(Record("ticks.features", 0, 0, b"A", b"{}", headers=headers))
    assert header is None or header.offset == int(value)


@given(st.text(max_size=30), st.text(max_size=30), st.integers(0, 2**62))
def test_positions_are_of_their_source_alone(mine: str, other: str, position: int) -> None:
    """A position is read back for its own source, and for no other, whatever their names."""
    header = (POSITION_HEADER, encode_position(mine, position))
    record = Record("ticks.raw", 0, 0, b"A", b"{}", headers=(header,))
    assert decode_position(record, mine) == position
    assert decode_position(record, other) == (position if other == mine else None)
