"""What others read from a record of `ticks.features`: whose it is, and what it says.

Offset and writer stand in headers, so that of a thousand records of a symbol only the newest has
to be decoded.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from volsvc.domain import FeatureRow, InvalidTickError, Prediction, Quality, Snapshot, parse_time
from volsvc.transport.bus import Headers, Record

OFFSET_HEADER = "volsvc-offset"
WRITER_HEADER = "volsvc-writer"


class RecordHeader(NamedTuple):
    """A record of `ticks.features` by its headers: the symbol's state after the tick at `offset`.

    `position` is the record's own offset in the features topic.
    """

    symbol: str
    partition: int
    position: int
    offset: int
    writer: str


def state_headers(offset: int, writer: str) -> Headers:
    """The headers that `read_header` reads."""
    return (OFFSET_HEADER, b"%d" % offset), (WRITER_HEADER, writer.encode())


def read_header(record: Record) -> RecordHeader | None:
    """Whose record it is; None for a tombstone and for what none of us wrote."""
    headers = dict(record.headers)
    offset, writer = headers.get(OFFSET_HEADER, b""), headers.get(WRITER_HEADER)
    if record.value is None or record.key is None or writer is None or not offset.isdigit():
        return None
    symbol = record.key.decode(errors="replace")
    return RecordHeader(
        symbol, record.partition, record.offset, int(offset), writer.decode(errors="replace")
    )


class _WireFeatures(msgspec.Struct, gc=False):
    """The public part of a record; the state inside it is skipped over."""

    symbol: str
    time: str
    price: float
    ret_mean: float
    ret_std: float
    n: int
    span_s: float
    features: dict[str, float | None]
    score: float
    model_variant: str
    version: str
    predictions: tuple[Prediction, ...]
    quality: Quality
    processed_at: str


_decode = msgspec.json.Decoder(_WireFeatures).decode


class RemoteSnapshot(NamedTuple):
    """What a record says of its symbol, and when that was worked out, in ns of wall-clock time."""

    snapshot: Snapshot
    processed_ns: int


def decode_snapshot(record: Record) -> RemoteSnapshot:
    """The public part of a record; raises InvalidTickError when it is none of ours."""
    try:
        wire = _decode(record.value or b"")
        row = FeatureRow(
            wire.symbol,
            parse_time(wire.time),
            wire.price,
            wire.ret_mean,
            wire.ret_std,
            wire.n,
            wire.span_s,
        )
        processed_ns = parse_time(wire.processed_at)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise InvalidTickError("value", f"is no features record: {error}", "features") from error
    said = Snapshot(
        row,
        wire.score,
        wire.model_variant,
        wire.version,
        wire.predictions,
        wire.quality,
        wire.features,
    )
    return RemoteSnapshot(said, processed_ns)
