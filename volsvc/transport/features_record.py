"""Records of `ticks.features` as other processes read them: their headers, and their snapshots.

Offset, log, writer and state stand in headers, so that of a symbol's thousand records only the
newest has to be decoded, and readers of its value need not skip the state.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from volsvc.domain import FeatureRow, InvalidTickError, Prediction, Quality, Snapshot, parse_time
from volsvc.transport.bus import Headers, OutRecord, Record

OFFSET_HEADER = "volsvc-offset"
WRITER_HEADER = "volsvc-writer"
TICKS_HEADER = "volsvc-ticks"
STATE_HEADER = "volsvc-state"
# Digits of the largest offset. Of thousands, as anybody may write, `int` raises ValueError.
MAX_OFFSET_DIGITS = 19


class RecordHeader(NamedTuple):
    """The header of a record of `ticks.features`, which holds the state after the tick at `offset`.

    `position` is the record's own offset in the features topic; `writer` is the bus identity of
    the process that wrote it. `ticks` is the name of the log in which `offset` is, empty in records
    of earlier versions.
    """

    symbol: str
    partition: int
    position: int
    offset: int
    writer: str
    ticks: str = ""

    def counts_in(self, ticks: str) -> bool:
        """Return True if the offset is one of this log, as far as the record says."""
        return self.ticks in ("", ticks)


def state_headers(offset: int, writer: str, content: bytes) -> Headers:
    """Return the headers that `read_header` reads, and the state itself."""
    return (
        (OFFSET_HEADER, b"%d" % offset),
        (WRITER_HEADER, writer.encode()),
        (STATE_HEADER, content),
    )


def of_log(record: OutRecord, ticks: str) -> OutRecord:
    """Return a record with the name of the log of ticks in which its offset is, as a header."""
    return record._replace(headers=(*record.headers, (TICKS_HEADER, ticks.encode())))


def read_header(record: Record) -> RecordHeader | None:
    """Return a record's header; None for a tombstone and for a record that is not ours."""
    headers = dict(record.headers)
    offset, writer = headers.get(OFFSET_HEADER, b""), headers.get(WRITER_HEADER)
    if record.value is None or record.key is None or writer is None:
        return None
    if not offset.isdigit() or len(offset) > MAX_OFFSET_DIGITS:
        return None
    symbol = record.key.decode(errors="replace")
    return RecordHeader(
        symbol,
        record.partition,
        record.offset,
        int(offset),
        writer.decode(errors="replace"),
        headers.get(TICKS_HEADER, b"").decode(errors="replace"),
    )


class _WireFeatures(msgspec.Struct, gc=False):
    """The value of a record."""

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
    prediction_id: str | None = None


_decode = msgspec.json.Decoder(_WireFeatures).decode


class RemoteSnapshot(NamedTuple):
    """A snapshot of another process, and the wall-clock time in ns at which it was made."""

    snapshot: Snapshot
    processed_ns: int


def decode_snapshot(record: Record) -> RemoteSnapshot:
    """Return the public part of a record; raises InvalidTickError if it is not a record of ours."""
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
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidTickError("value", f"is not a features record: {error}", "features") from error
    snapshot = Snapshot(
        row,
        wire.score,
        wire.model_variant,
        wire.version,
        wire.predictions,
        wire.quality,
        wire.features,
        wire.prediction_id,
    )
    return RemoteSnapshot(snapshot, processed_ns)
