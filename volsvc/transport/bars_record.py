"""Records of `ticks.raw` with the bars of a symbol before its next tick.

A past is several records, each of which changes the state by itself, so that each fits any broker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta

from volsvc.domain import BarSource, InvalidTickError
from volsvc.domain.fields import MAX_PRICE
from volsvc.domain.minute_bars import BarSeries, PastBars
from volsvc.transport.bus import Headers, OutRecord, Record
from volsvc.transport.symbol_record import decode_of_symbol

BARS_VERSION = 1
BARS_HEADER = "volsvc-bars"
# Bars of a record: their work keeps requests waiting for some milliseconds.
MOST_BARS: Final = 240

_MAX_MINUTE: Final = 2**63 // (60 * 10**9) - 1
_Price = Annotated[float, Meta(ge=1 / MAX_PRICE, le=MAX_PRICE)]
_Minute = Annotated[int, Meta(ge=0, lt=_MAX_MINUTE)]
# Of the times of a bar to its volume.
_Row = tuple[_Minute, _Price, _Price, _Price, _Price, Annotated[float, Meta(ge=0)]]


class _Bars(msgspec.Struct, gc=False):
    """Bars as rows of minute since the epoch, open, high, low, close and volume."""

    symbol: str
    source: BarSource
    bars: Annotated[list[_Row], Meta(min_length=1, max_length=MOST_BARS)]
    type: str = "bars"
    v: Annotated[int, Meta(ge=BARS_VERSION, le=BARS_VERSION)] = BARS_VERSION


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Bars).decode


def encode_bars(past: PastBars, headers: Headers) -> Iterator[OutRecord]:
    """Yield the records of a past, each with `headers`."""
    minutes, values = past.bars
    for start in range(0, len(minutes), MOST_BARS):
        part = slice(start, start + MOST_BARS)
        columns = (minutes[part].tolist(), *values[part].T.tolist())
        value = _encode(_Bars(past.symbol, past.source, list(zip(*columns, strict=True))))
        yield OutRecord(past.symbol.encode(), value, ((BARS_HEADER, b"1"), *headers))


def has_bars(record: Record) -> bool:
    """Return True if a record says that it holds bars."""
    return any(name == BARS_HEADER for name, _ in record.headers)


def decode_bars(record: Record) -> PastBars:
    """Return the bars of a record; raises InvalidTickError if they are not valid."""
    found = decode_of_symbol(record, _decode, "bars")
    minutes, *values = (np.array(column) for column in zip(*found.bars, strict=True))
    start, high, low, close, _ = values
    inside = (low <= start) & (start <= high) & (low <= close) & (close <= high)
    if not inside.all() or (np.diff(minutes) <= 0).any():
        raise InvalidTickError("bars", "do not rise in time, or have no range", "bars")
    return PastBars(found.symbol, found.source, BarSeries(minutes, np.column_stack(values)))
