"""Encoding of our topics' records: ticks, features, outcomes, dead letters.

They are JSON, because any client on any platform reads it. Floats keep every bit, since the
shortest decimal of a double reads back as the same double.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from volsvc.domain import (
    NS,
    InvalidTickError,
    NotATickError,
    Outcome,
    PointForecast,
    Quality,
    Tick,
    format_time,
    is_symbol,
    parse_time,
    tick_from_fields,
    tick_from_record,
)
from volsvc.domain.feature_names import SCALE_NAMES
from volsvc.domain.fields import MAX_PRICE
from volsvc.domain.forecast import PredictionFields, prediction_fields
from volsvc.domain.records import MAX_SOURCE
from volsvc.domain.texts import plain_text, shown
from volsvc.scoring.scores import prediction_id
from volsvc.transport.bus import Headers, OutRecord, Record
from volsvc.transport.features_record import MAX_OFFSET_DIGITS, STATE_HEADER, state_headers

TICK_VERSION = 1
FEATURES_VERSION = 4
# Records of this version hold the state in their value, as JSON.
MIGRATED_VERSION = 3
OUTCOME_VERSION = 1
POSITION_HEADER = "volsvc-position"
MAX_RECORD_BYTES = 256 * 1024
# Characters of the error in the headers of a dead letter.
MAX_ERROR = 1_000


class _WireTick(msgspec.Struct, gc=False):
    """A tick as we write it; other records go through the tolerant decoder of aliases."""

    symbol: str
    time: str
    price: float
    best_bid: float | None
    best_ask: float | None
    size: float | None
    side: str | None
    trade_id: int | None
    sequence: int | None
    source: str
    v: int = TICK_VERSION


_Price = Annotated[float, Meta(ge=1 / MAX_PRICE, le=MAX_PRICE)]
_Id = Annotated[int, Meta(le=2**63 - 1)]


class _PlainTick(msgspec.Struct, gc=False):
    """A tick as we write it, with every bound checked while it is decoded."""

    symbol: str
    time: str
    price: _Price
    best_bid: _Price | None
    best_ask: _Price | None
    size: Annotated[float, Meta(ge=0)] | None
    side: Literal["buy", "sell"] | None
    trade_id: Annotated[_Id, Meta(ge=1)] | None
    sequence: Annotated[_Id, Meta(ge=0)] | None
    source: Annotated[str, Meta(max_length=MAX_SOURCE)]
    v: Annotated[int, Meta(ge=TICK_VERSION, le=TICK_VERSION)] = TICK_VERSION


# Nearly all ticks are ours and valid, so one strict decoder takes them in one pass (a property test
# holds it equal to the careful path); whatever it refuses is decoded again to find the reason.
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_decode_wire = msgspec.json.Decoder(_WireTick).decode
_decode_plain = msgspec.json.Decoder(_PlainTick).decode


def encode_tick(tick: Tick, position: bytes | None = None) -> OutRecord:
    """Return a tick as a record of `ticks.raw`, with its position in its source as a header."""
    wire = _WireTick(
        tick.symbol,
        format_time(tick.time_ns),
        tick.price,
        tick.best_bid,
        tick.best_ask,
        tick.size,
        tick.side,
        tick.trade_id,
        tick.sequence,
        tick.source,
    )
    headers: Headers = ((POSITION_HEADER, position),) if position is not None else ()
    return OutRecord(tick.symbol.encode(), _encode(wire), headers)


def decode_tick(record: Record) -> Tick:
    """Return the tick of a record of `ticks.raw`, ours or another producer's.

    Raises InvalidTickError, whose reason is one of a bounded set of labels, or NotATickError.
    """
    value, key = record.value or b"", record.key
    try:
        plain = _decode_plain(value)
        symbol = plain.symbol
        if key == symbol.encode() and is_symbol(symbol) and len(value) <= MAX_RECORD_BYTES:
            return Tick(
                symbol,
                parse_time(plain.time),
                plain.price,
                plain.best_bid,
                plain.best_ask,
                plain.size,
                plain.side,
                plain.trade_id,
                plain.sequence,
                plain.source,
            )
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # The careful path below finds out what is wrong, and raises with a reason.
        pass
    tick = _decode_value(record.value)
    if key != tick.symbol.encode():
        # The key determines the partition: under another one a symbol's ticks lose their order.
        raise InvalidTickError("key", f"{key!r} is not {tick.symbol!r}"[:120], "key")
    return tick


def _decode_value(value: bytes | None) -> Tick:
    if value is None:
        raise InvalidTickError("value", "is null", "null")
    if len(value) > MAX_RECORD_BYTES:
        raise InvalidTickError("value", f"has {len(value)} bytes", "too_large")
    try:
        wire = _decode_wire(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_tolerantly(value)
    if wire.v != TICK_VERSION:
        raise InvalidTickError("v", f"{wire.v} is not {TICK_VERSION}", "version")
    return tick_from_fields(msgspec.structs.asdict(wire), None, wire.source[:MAX_SOURCE])


def _decode_tolerantly(value: bytes) -> Tick:
    try:
        decoded = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidTickError("value", f"is not JSON: {error}", "json") from error
    if not isinstance(decoded, dict):
        raise InvalidTickError("value", "is not a JSON object", "json")
    if decoded.get("v", TICK_VERSION) != TICK_VERSION:
        detail = f"{shown(decoded['v'], 80)} is not {TICK_VERSION}"[:80]
        raise InvalidTickError("v", detail, "version")
    return tick_from_record(decoded)


def encode_position(identity: str, position: int) -> bytes:
    """Return the header value for a tick's position in the source `identity`."""
    return f"{identity}:{position}".encode()


def decode_position(record: Record, identity: str) -> int | None:
    """Return a record's position in the source `identity`; None if it is of another source."""
    for name, value in record.headers:
        if name == POSITION_HEADER:
            source, _, position = value.rpartition(b":")
            # In bytes, because `str.isdigit` is true of superscripts, for which `int` raises.
            ours = source == identity.encode() and position.isdigit()
            return int(position) if ours and len(position) <= MAX_OFFSET_DIGITS else None
    return None


# The multi-scale features. A number that is not known is NaN, which is null in JSON.
_SCALES = {f"scale_{place}": name for place, name in enumerate(SCALE_NAMES)}
_Scales = msgspec.defstruct(
    "_Scales", [(field, float) for field in _SCALES], rename=_SCALES, gc=False
)


class _FeaturesValue(msgspec.Struct, gc=False):
    """The value of a record of `ticks.features`, in the order of its fields.

    Structs are encoded in half of the time that dicts take.
    """

    v: int
    symbol: str
    time: str
    price: float
    ret_mean: float
    ret_std: float
    n: int
    span_s: float
    features: msgspec.Struct
    score: float
    prediction_id: str | None
    model_variant: str
    version: str
    predictions: Sequence[PredictionFields]
    quality: Quality
    digest: Mapping[str, str] | None
    processed_at: str


class PublishedState(NamedTuple):
    """A symbol's state after the tick at `offset` of a partition, as bytes that only we read.

    `digest` has the newest closed window of its digest chain as JSON fields, None before the first.
    """

    partition: int
    offset: int
    digest: Mapping[str, str] | None
    content: bytes


def encode_features(
    forecast: PointForecast, state: PublishedState, processed_at: str, writer: str
) -> OutRecord:
    """Return a record of `ticks.features`: the forecast, and the state behind it as a header.

    `processed_at` is a wall-clock time as `format_time` writes it, and `writer` the identity of
    this process's bus.
    """
    row = forecast.row
    value = _FeaturesValue(
        FEATURES_VERSION,
        row.symbol,
        format_time(row.time_ns),
        row.price,
        row.ret_mean,
        row.ret_std,
        row.n,
        row.span_s,
        _Scales(*forecast.scales),
        forecast.score,
        forecast.prediction_id,
        forecast.variant,
        forecast.version,
        list(map(prediction_fields, forecast.horizons_s, forecast.numbers)),
        forecast.quality,
        state.digest,
        processed_at,
    )
    return OutRecord(
        row.symbol.encode(),
        _encode(value),
        state_headers(state.offset, writer, state.content),
        # That of the ticks, whatever partitioner their producer uses: the next owner of the
        # partition looks for its states there.
        partition=state.partition,
    )


def encode_outcome(outcome: Outcome) -> OutRecord:
    """Return a record of `ticks.outcomes`: a forecast as it was issued, and its outcome."""
    issued = outcome.issued
    symbol = issued.symbol
    minute, variant, version = issued.minute, issued.variant, issued.version
    value = {
        "v": OUTCOME_VERSION,
        "prediction_id": prediction_id(symbol, minute, variant, version),
        "symbol": symbol,
        "issued_at": format_time((minute + 1) * 60 * NS),
        "matured_at": format_time((minute + 1 + issued.horizon_minutes) * 60 * NS),
        "horizon_s": issued.horizon_minutes * 60.0,
        "model_variant": variant,
        "version": version,
        "sigma": issued.sigma,
        "lo": issued.lo,
        "hi": issued.hi,
        "threshold": issued.threshold,
        "score": issued.score,
        "realised": outcome.realised,
        "qlike": outcome.qlike,
        "covered": outcome.covered,
        "brier": outcome.brier,
    }
    return OutRecord(symbol.encode(), _encode(value))


class RestoredState(NamedTuple):
    """The part of a `ticks.features` record that a restart needs; times are since the epoch.

    `time_ns` is that of the newest tick, `processed_ns` when the record was made, if it
    says so. `content` is a mapping in a
    record of version 3, which has to be migrated.
    """

    symbol: str
    time_ns: int
    processed_ns: int | None
    content: bytes | Mapping[str, Any]


def decode_state(record: Record) -> RestoredState | None:
    """Return the state of a record of `ticks.features`; None for a tombstone.

    Raises InvalidTickError if it is not a record of ours.
    """
    if record.value is None:
        return None
    content = dict(record.headers).get(STATE_HEADER)
    try:
        value = _decode(record.value)
        version, symbol, time_ns = value["v"], value["symbol"], parse_time(value["time"])
        valid = is_symbol(symbol)
    # A nested record exhausts the stack; UnicodeDecodeError is a ValueError.
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidTickError(
            "value", f"is not a features record: {error!r}", "features"
        ) from error
    if not valid:
        raise InvalidTickError("symbol", f"{shown(symbol, 80)} is not valid", "features")
    processed_ns = None
    with suppress(KeyError, TypeError, ValueError):
        processed_ns = parse_time(value["processed_at"])
    if version == MIGRATED_VERSION and isinstance(value.get("state"), dict):
        return RestoredState(symbol, time_ns, processed_ns, value["state"])
    if version != FEATURES_VERSION or content is None:
        detail = f"{shown(version, 80)} is not {FEATURES_VERSION}, or has no {STATE_HEADER}"
        raise InvalidTickError("v", detail, "features")
    return RestoredState(symbol, time_ns, processed_ns, content)


def dead_letter(record: Record, error: InvalidTickError | NotATickError) -> OutRecord:
    """Return a record that is no valid tick, unchanged, with reason and origin in headers."""
    reason = error.reason if isinstance(error, InvalidTickError) else "not_a_tick"
    origin = f"{record.topic}/{record.partition}/{record.offset}"
    headers: Headers = (
        ("volsvc-reason", reason.encode()),
        ("volsvc-error", plain_text(str(error), MAX_ERROR).encode()),
        ("volsvc-origin", origin.encode()),
    )
    value = record.value
    # Uncut, it could be larger than a batch of the Kafka bus may be.
    if value is not None and len(value) > MAX_RECORD_BYTES:
        value, headers = value[:MAX_RECORD_BYTES], (*headers, ("volsvc-truncated", b"true"))
    return OutRecord(record.key or b"", value, headers)
