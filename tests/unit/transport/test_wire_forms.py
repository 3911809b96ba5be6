"""Records as other programs see them: exact keys, values and headers, and the refusal of others."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.variations import FORECAST, SNAPSHOT
from volsvc.domain import NS, InvalidTickError, IssuedForecast, NotATickError, Outcome, Tick
from volsvc.domain.feature_names import SCALE_NAMES
from volsvc.features.digest_chain import ClosedWindow
from volsvc.transport import OutRecord, Record
from volsvc.transport.codec import (
    MAX_RECORD_BYTES,
    PublishedState,
    RestoredState,
    dead_letter,
    decode_position,
    decode_state,
    decode_tick,
    encode_features,
    encode_outcome,
    encode_tick,
)
from volsvc.transport.features_record import RecordHeader, decode_snapshot, of_log, read_header

START_NS = 1_767_571_200 * NS
START = "2026-01-05T00:00:00.000Z"
TICK = Tick("BTC-USD", START_NS, 100.5, 100.0, 101.0, 0.25, "buy", 7, 9, "csv")
WIRE_TICK = {
    "symbol": "BTC-USD",
    "time": START,
    "price": 100.5,
    "best_bid": 100.0,
    "best_ask": 101.0,
    "size": 0.25,
    "side": "buy",
    "trade_id": 7,
    "sequence": 9,
    "source": "csv",
    "v": 1,
}


def in_log(value: bytes | None, key: bytes | None = b"BTC-USD", **fields: Any) -> Record:
    """Return a record at a place in the log."""
    return Record("ticks.raw", 2, 40, key, value, **fields)


def decoded(record: OutRecord) -> dict[str, Any]:
    """Return the JSON object of a record."""
    value: dict[str, Any] = json.loads(record.value or b"")
    return value


def refusal(value: bytes | None, **fields: Any) -> tuple[str, str, str]:
    """Return field, reason and text of the error for a record of ticks."""
    with pytest.raises(InvalidTickError) as caught:
        decode_tick(in_log(value, **fields))
    return caught.value.field, caught.value.reason, str(caught.value)


def test_a_tick() -> None:
    """Every field of a tick has its name; the key is the symbol, and a position is a header."""
    sent = encode_tick(TICK)
    assert (sent.key, decoded(sent)) == (b"BTC-USD", WIRE_TICK)
    assert (sent.headers, sent.partition) == ((), None)
    assert encode_tick(TICK, b"").headers == (("volsvc-position", b""),)
    assert encode_tick(TICK, b"f@1:3").headers == (("volsvc-position", b"f@1:3"),)
    assert decode_tick(in_log(sent.value)) == TICK


def test_a_tick_of_another_producer() -> None:
    """Names of other feeds, a missing version and a long source are accepted."""
    value = {"product_id": "BTC-USD", "ts": START, "last": "100.5", "source": "x" * 70}
    found = decode_tick(in_log(json.dumps(value).encode()))
    assert found == Tick("BTC-USD", START_NS, 100.5, source="x" * 64)
    ours = {**WIRE_TICK, "source": "x" * 70}
    found = decode_tick(in_log(json.dumps(ours).encode()))
    assert found.source == "x" * 64
    without_version = {name: field for name, field in WIRE_TICK.items() if name != "v"}
    assert decode_tick(in_log(json.dumps(without_version).encode())) == TICK


@pytest.mark.parametrize("version", [2, 0, "2", None])
def test_ticks_of_another_version(version: Any) -> None:
    """Records of another version are refused, whoever wrote them, and the version is named."""
    other = {"symbol": "BTC-USD", "time": START, "price": 1, "v": version}
    for value in (other, {**WIRE_TICK, "v": version}):
        field, reason, text = refusal(json.dumps(value).encode())
        assert (field, reason) == ("v", "version")
        assert f"{version!r} is not 1" in text


def test_long_texts_of_errors_are_cut() -> None:
    """An error is short, however long the field at fault."""
    long = "x" * 500
    *place, text = refusal(json.dumps({**WIRE_TICK, "v": long}).encode())
    assert place == ["v", "version"]
    assert text == "field 'v': " + f"{long!r}"[:80]
    *place, text = refusal(encode_tick(TICK).value, key=long.encode())
    assert place == ["key", "key"]
    assert text == "field 'key': " + f"{long.encode()!r}"[:120]


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (None, "null", "is null"),
        (b" " * (MAX_RECORD_BYTES + 1), "too_large", f"has {MAX_RECORD_BYTES + 1} bytes"),
        (b"{", "json", "is not JSON: "),
        (b"[]", "json", "is not a JSON object"),
    ],
    ids=range(4),
)
def test_records_that_are_no_objects(value: bytes | None, reason: str, detail: str) -> None:
    """The error says what the value is."""
    field, found, text = refusal(value)
    assert (field, found) == ("value", reason)
    assert text.startswith(f"field 'value': {detail}")


def test_the_key_of_a_tick() -> None:
    """An error of the key names the key and the symbol."""
    *place, text = refusal(encode_tick(TICK).value, key=b"ETH-USD")
    assert place == ["key", "key"]
    assert "b'ETH-USD' is not 'BTC-USD'" in text


def test_the_largest_record() -> None:
    """A record of exactly the allowed size is read."""
    value = encode_tick(TICK).value or b""
    assert decode_tick(in_log(value + b" " * (MAX_RECORD_BYTES - len(value)))) == TICK


def test_a_record_without_position() -> None:
    """Other headers, before it or alone, are passed over."""
    position = ("volsvc-position", b"f@1:3")
    assert decode_position(in_log(b"", headers=(("traceparent", b"f@1:4"), position)), "f@1") == 3
    assert decode_position(in_log(b"", headers=(("traceparent", b"f@1:4"),)), "f@1") is None
    assert decode_position(in_log(b""), "f@1") is None


@pytest.mark.parametrize(("digits", "known"), [(19, True), (20, False)])
def test_digits_of_offsets_and_positions(digits: int, known: bool) -> None:
    """A number of as many digits as the largest offset is read, one of more is not."""
    number = b"1" * digits
    position = (("volsvc-position", b"f@1:" + number),)
    assert decode_position(in_log(b"", headers=position), "f@1") == (int(number) if known else None)
    headers = (("volsvc-offset", number), ("volsvc-writer", b"w"))
    assert (read_header(in_log(b"", headers=headers)) is not None) is known


CONTENT = b"\x00\xff{"
STATE = PublishedState(3, 7, None, CONTENT)
STATE_HEADER = ("volsvc-state", CONTENT)


def test_a_features_record() -> None:
    """The record has features and forecasts; its headers have offset, writer and state."""
    sent = encode_features(FORECAST, STATE, "2026-01-05T00:00:00.000000001Z", "writer#1")
    predictions = [prediction.fields() for prediction in SNAPSHOT.predictions]
    assert decoded(sent) == {
        "v": 4,
        "symbol": "BTC-USD",
        "time": "2026-01-05T00:00:01.000Z",
        "price": 100.0,
        "ret_mean": 1e-6,
        "ret_std": 1e-5,
        "n": 49,
        "span_s": 10.0,
        "features": {name: 1e-9 * number for number, name in enumerate(SCALE_NAMES, 1)},
        "score": 0.2,
        "prediction_id": "BTC-USD/2026-01-05T00:00:00.000Z/ml-1",
        "model_variant": "ml",
        "version": "1",
        "predictions": msgspec.to_builtins(predictions),
        "quality": msgspec.to_builtins(SNAPSHOT.quality),
        "digest": None,
        "processed_at": "2026-01-05T00:00:00.000000001Z",
    }
    assert sent.key == b"BTC-USD"
    assert sent.headers == (
        ("volsvc-offset", b"7"),
        ("volsvc-writer", b"writer#1"),
        ("volsvc-state", CONTENT),
    )
    assert sent.partition == 3


def test_the_digest_of_a_features_record() -> None:
    """The newest closed minute of the digest chain stands in the value."""
    closed = ClosedWindow(29_459_520, "ab" * 32)
    state = STATE._replace(digest=closed.fields())
    sent = encode_features(FORECAST, state, START, "writer#1")
    assert decoded(sent)["digest"] == {"window": START, "head": "ab" * 32}


def test_an_outcome() -> None:
    """An outcome has the forecast as it was issued, with its times, and the losses."""
    issued = IssuedForecast("BTC-USD", "ml", "4", 29_459_519, 5, 1e-3, 5e-4, 2e-3, 1.5e-3, 0.1)
    sent = encode_outcome(Outcome(issued, 1.2e-3, 0.3, True, 0.04))
    assert decoded(sent) == {
        "v": 1,
        "prediction_id": f"BTC-USD/{START}/ml-4",
        "symbol": "BTC-USD",
        "issued_at": START,
        "matured_at": "2026-01-05T00:05:00.000Z",
        "horizon_s": 300.0,
        "model_variant": "ml",
        "version": "4",
        "sigma": 1e-3,
        "lo": 5e-4,
        "hi": 2e-3,
        "threshold": 1.5e-3,
        "score": 0.1,
        "realised": 1.2e-3,
        "qlike": 0.3,
        "covered": True,
        "brier": 0.04,
    }
    assert (sent.key, sent.headers, sent.partition) == (b"BTC-USD", (), None)


def test_a_stored_state() -> None:
    """A restart reads symbol, time and state; a tombstone has none."""
    sent = encode_features(FORECAST, STATE, START, "writer#1")
    found = decode_state(in_log(sent.value, headers=sent.headers))
    assert found == RestoredState("BTC-USD", START_NS + NS, START_NS, CONTENT)
    assert decode_state(in_log(None, headers=sent.headers)) is None


FEATURES = decoded(encode_features(FORECAST, STATE, START, "writer#1"))


def without(name: str) -> bytes:
    """Return the value of a features record that lacks a field."""
    return json.dumps({k: v for k, v in FEATURES.items() if k != name}).encode()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        without("symbol"),
        without("time"),
        json.dumps({**FEATURES, "time": "?"}).encode(),
    ],
    ids=range(8),
)
def test_records_that_are_no_features(value: bytes) -> None:
    """Neither state nor snapshot is read from a record of somebody else."""
    for read in (decode_state, decode_snapshot):
        with pytest.raises(InvalidTickError) as caught:
            read(in_log(value, headers=(STATE_HEADER,)))
        assert (caught.value.field, caught.value.reason) == ("value", "features")
        assert "is not a features record: " in str(caught.value)


@pytest.mark.parametrize("other", [{}, {"processed_at": "?"}], ids=["missing", "no time"])
def test_records_without_a_time_of_processing(other: dict[str, str]) -> None:
    """A snapshot needs it, for its age; a restart does not."""
    value = json.dumps({**json.loads(without("processed_at")), **other}).encode()
    with pytest.raises(InvalidTickError, match="is not a features record: "):
        decode_snapshot(in_log(value))
    found = decode_state(in_log(value, headers=(STATE_HEADER,)))
    assert found == RestoredState("BTC-USD", START_NS + NS, None, CONTENT)


def test_a_record_without_a_value_has_no_snapshot() -> None:
    """A tombstone is refused as a snapshot."""
    with pytest.raises(InvalidTickError):
        decode_snapshot(in_log(None))


def test_a_record_without_a_state() -> None:
    """A record that lacks its state alone still has a snapshot."""
    value = json.dumps(FEATURES).encode()
    with pytest.raises(InvalidTickError, match="volsvc-state") as caught:
        decode_state(in_log(value, headers=HEADERS))
    assert (caught.value.field, caught.value.reason) == ("v", "features")
    assert decode_snapshot(in_log(value)).snapshot == FORECAST.snapshot()


@pytest.mark.parametrize("version", [3, 5, "4", None, [], "x" * 500], ids=range(6))
def test_features_of_another_version(version: Any) -> None:
    """A state is read from a record of our version alone, and the error names the other."""
    value = json.dumps({**FEATURES, "v": version}).encode()
    with pytest.raises(InvalidTickError) as caught:
        decode_state(in_log(value, headers=(STATE_HEADER,)))
    assert (caught.value.field, caught.value.reason) == ("v", "features")
    assert str(caught.value).startswith(f"field 'v': {version!r}"[:80])
    assert " is not 4" in str(caught.value)
    # Its public part has not changed with the state.
    assert decode_snapshot(in_log(value)).snapshot == FORECAST.snapshot()


HEADERS = (("volsvc-offset", b"7"), ("volsvc-writer", b"w#1"))


def test_the_header_of_a_features_record() -> None:
    """Symbol, place, offset, writer and log; bytes that are no text do no harm."""
    found = read_header(in_log(b"{}", headers=HEADERS))
    assert found == RecordHeader("BTC-USD", 2, 40, 7, "w#1")
    odd = (HEADERS[0], ("volsvc-writer", b"w\xff"))
    found = read_header(in_log(b"{}", b"A\xff", headers=odd))
    assert found == RecordHeader("A\ufffd", 2, 40, 7, "w\ufffd")
    named = of_log(OutRecord(b"BTC-USD", b"{}", HEADERS, 2), "ticks.raw/6")
    found = read_header(in_log(b"{}", headers=named.headers))
    assert found == RecordHeader("BTC-USD", 2, 40, 7, "w#1", "ticks.raw/6")
    assert [found.counts_in(f"ticks.raw/{count}") for count in (3, 6)] == [False, True]


@pytest.mark.parametrize(
    "record",
    [
        in_log(None, headers=HEADERS),
        in_log(b"{}", None, headers=HEADERS),
        in_log(b"{}", headers=HEADERS[:1]),
        in_log(b"{}", headers=HEADERS[1:]),
        in_log(b"{}"),
    ],
    ids=["tombstone", "no key", "no writer", "no offset", "no headers"],
)
def test_records_without_a_header_of_ours(record: Record) -> None:
    """A record that lacks any part has no header."""
    assert read_header(record) is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidTickError("price", "is missing", "price"), b"price"),
        (NotATickError("is a note"), b"not_a_tick"),
    ],
)
def test_a_dead_letter(error: InvalidTickError | NotATickError, reason: bytes) -> None:
    """The record is unchanged; headers have the reason, the error and the origin."""
    record = in_log(b"\xff", b"K", headers=(("other", b"1"),))
    assert dead_letter(record, error) == OutRecord(
        b"K",
        b"\xff",
        (
            ("volsvc-reason", reason),
            ("volsvc-error", str(error).encode()),
            ("volsvc-origin", b"ticks.raw/2/40"),
        ),
    )


def test_a_dead_letter_without_key_and_value() -> None:
    """A record of nothing is set aside too."""
    found = dead_letter(in_log(None, None), NotATickError("is null"))
    assert (found.key, found.value) == (b"", None)


@pytest.mark.parametrize("beyond", [0, 1, 100])
def test_large_dead_letters_are_cut(beyond: int) -> None:
    """A value that is larger than a record may be is cut, and a header says so."""
    value = bytes(MAX_RECORD_BYTES) + b"x" * beyond
    found = dead_letter(in_log(value), NotATickError("is large"))
    assert found.value == bytes(MAX_RECORD_BYTES)
    assert found.headers[3:] == ((("volsvc-truncated", b"true"),) if beyond else ())
    assert len(found.headers) == (4 if beyond else 3)
