"""Records of `ticks.minutes`: minutes of a symbol, from which every instance keeps its past.

A store gives the same row for a minute that was read from the log as for one of its own, since the
record has all digits that are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta

from volsvc.domain import HORIZON_MINUTES, InvalidTickError, parse_time
from volsvc.domain.fields import MAX_PRICE
from volsvc.features import MINUTE_NS
from volsvc.scoring.scores import NUMBERS
from volsvc.store.columns import Columns, rows_of
from volsvc.store.history import known_at_end
from volsvc.store.minute_rows import AFTER_GAP, MINUTE_ROW, PARTIAL, round_numbers
from volsvc.store.minute_table import Minutes, ModelName
from volsvc.transport import OutRecord, Record
from volsvc.transport.symbol_record import decode_of_symbol

MINUTES_VERSION: Final = 1
# Minutes of a record, of some hundred bytes each, so that it fits any broker.
MOST_MINUTES: Final = 240

_Price = Annotated[float, Meta(ge=1 / MAX_PRICE, le=MAX_PRICE)]
_Size = Annotated[float, Meta(ge=0)]
_Count = Annotated[int, Meta(ge=0, le=2**32 - 1)]
_Name = Annotated[str, Meta(max_length=200)]
_NUMBERS: Final = {
    **dict.fromkeys(("open", "high", "low", "close"), _Price),
    "volume": _Size,
    "ticks": _Count,
    "ret_mean": float,
    "ret_std": _Size,
    "n": _Count,
}
# By horizon.
_FORECASTS: Final = [
    [f"{name}_{60 * minutes}s" for name in (*NUMBERS, "shadow_sigma")]
    for minutes in HORIZON_MINUTES
]
# A minute, under the names of `volsvc.store.history.FIELDS`.
_Row: Any = msgspec.defstruct(
    "_Row",
    [
        ("time", str),
        *_NUMBERS.items(),
        ("realised", _Size),
        *((name, float | None, None) for names in _FORECASTS for name in names),
        *((name, _Name) for name in ("model_variant", "version")),
        *((name, _Name, "") for name in ("shadow_variant", "shadow_version")),
        *((name, bool, False) for name in ("gap", "partial")),
    ],
    kw_only=True,
    gc=False,
)


class _Minutes(msgspec.Struct, gc=False):
    symbol: str
    rows: Annotated[list[_Row], Meta(max_length=MOST_MINUTES)]
    v: Annotated[int, Meta(ge=MINUTES_VERSION, le=MINUTES_VERSION)]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Minutes).decode


def encode_minutes(parts: Iterable[Minutes]) -> Iterator[OutRecord]:
    """Yield the records of minutes, whose rows are in order of time for each symbol."""
    by_symbol: dict[str, list[dict[str, Any]]] = {}
    for models, same in groupby(parts, lambda part: part.models):
        symbols, columns = _columns(list(same), models)
        for symbol, row in zip(symbols, rows_of(columns), strict=True):
            by_symbol.setdefault(symbol, []).append(dict(zip(columns, row, strict=True)))
    for symbol, found in by_symbol.items():
        for start in range(0, len(found), MOST_MINUTES):
            part = found[start : start + MOST_MINUTES]
            value = {"v": MINUTES_VERSION, "symbol": symbol, "rows": part}
            yield OutRecord(symbol.encode(), _encode(value))


def _columns(parts: Sequence[Minutes], models: Sequence[ModelName]) -> tuple[list[str], Columns]:
    """Return the symbols and the columns of minutes of the same models."""
    rows = np.concatenate([part.rows for part in parts])
    round_numbers(rows)
    symbols = [symbol for part in parts for symbol in part.symbols]
    return symbols, known_at_end(Minutes(symbols, rows, models))


def decode_minutes(
    records: Iterable[Record], refused: Callable[[Record, InvalidTickError], None]
) -> Minutes:
    """Return the minutes of records; `refused` is called with those that are not valid."""
    symbols: list[str] = []
    numbers: list[int] = []
    rows: list[Any] = []
    for record in records:
        try:
            symbol, found, ended = _decoded(record)
        except InvalidTickError as error:
            refused(record, error)
            continue
        symbols += [symbol] * len(found)
        rows += found
        numbers += ended
    return _minutes(symbols, numbers, rows)


def _decoded(record: Record) -> tuple[str, list[Any], list[int]]:
    """Return the symbol of a record, its rows and their minutes; raises InvalidTickError."""
    found = decode_of_symbol(record, _decode, "minutes")
    try:
        ends = [divmod(parse_time(row.time), MINUTE_NS) for row in found.rows]
    except ValueError as error:
        raise InvalidTickError("minutes", f"are not valid: {error}", "minutes") from error
    if any(rest for _, rest in ends):
        raise InvalidTickError("time", "is not the end of a minute", "minutes")
    return found.symbol, found.rows, [end - 1 for end, _ in ends]


def _minutes(symbols: Sequence[str], numbers: Sequence[int], found: Sequence[Any]) -> Minutes:
    rows = np.zeros(len(found), MINUTE_ROW)
    rows["minute"] = numbers
    for name in _NUMBERS:
        rows[name] = [getattr(row, name) for row in found]
    rows["variance"] = np.square([row.realised for row in found])
    rows["flags"] = [AFTER_GAP * row.gap + PARTIAL * row.partial for row in found]
    for index, names in enumerate(_FORECASTS):
        # None is NaN.
        values = [np.array([getattr(row, name) for row in found], np.float64) for name in names]
        rows["forecasts"][:, index] = np.transpose(values[:-1])
        rows["shadow_sigmas"][:, index] = values[-1]
    models: dict[ModelName, int] = {}
    served = [(row.model_variant, row.version) for row in found]
    shadows = [
        (row.shadow_variant, row.shadow_version) if row.shadow_variant else model
        for row, model in zip(found, served, strict=True)
    ]
    for name, names_of in (("model", served), ("shadow", shadows)):
        rows[name] = [models.setdefault(model, len(models)) for model in names_of]
    return Minutes(symbols, rows, list(models))
