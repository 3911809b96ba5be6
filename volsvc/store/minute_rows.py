"""A row for each minute of a symbol: its prices, its features, and what was forecast at its end.

The rows of some hours are kept as one block, column by column: bytes of the same kind stand side by
side there, so that they take a third of the room. Numbers have the digits that an answer needs.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import HORIZON_MINUTES
from volsvc.scoring.scores import NUMBERS
from volsvc.store.columns import rounded
from volsvc.store.kernels.blocks import read_columns, write_columns

# Binary digits that are kept of a forecast or a feature, four decimal ones; decimal ones of prices.
BINARY_DIGITS: Final = 13
PRICE_DIGITS: Final = 12
# Flags: ticks are missing before the minute; it was watched in part only.
AFTER_GAP: Final = 1
PARTIAL: Final = 2

_FORECASTS = (len(HORIZON_MINUTES), len(NUMBERS))
# `minute` counts from the epoch, UTC. `variance` is the sum of squared log returns. `forecasts` are
# those of the model `model` at the end of the minute, by horizon (HORIZON_MINUTES) and number
# (scores.NUMBERS), and `shadow_sigmas` those of the model `shadow`, NaN without one. Whoever keeps
# the rows numbers the models.
MINUTE_ROW: Final = np.dtype(
    [
        ("minute", "i4"),
        ("flags", "u1"),
        ("model", "u2"),
        ("shadow", "u2"),
        ("open", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
        ("volume", "f4"),
        ("ticks", "u4"),
        ("variance", "f4"),
        ("ret_mean", "f4"),
        ("ret_std", "f4"),
        ("n", "u4"),
        ("forecasts", "f4", _FORECASTS),
        ("shadow_sigmas", "f4", _FORECASTS[:1]),
    ]
)
_PRICES: Final = ("open", "high", "low", "close")
_ROUNDED: Final = ("volume", "variance", "ret_mean", "ret_std", "forecasts", "shadow_sigmas")
# The same with prices as integers.
_PACKED: Final = np.dtype(
    [(name, "i8" if name in _PRICES else MINUTE_ROW[name]) for name in MINUTE_ROW.names or ()]
)
# The place of each field, the bytes of a value and the number of values, as kernels read them.
_FIELDS: Final = np.array(
    [
        (place, field.base.itemsize, field.itemsize // field.base.itemsize)
        for field, place, *_ in (_PACKED.fields or {}).values()
    ]
)
# Integers below this are exact as doubles.
_EXACT: Final = 2.0**53
# Of zlib: half the time of its usual level, and 5 % more room.
LEVEL: Final = 3
# In the place of the decimals of prices that have too many: their integers are the doubles' bits.
_BITS: Final = 255


def round_numbers(rows: NDArray[Any]) -> None:
    """Round what has more digits than an answer needs, in place."""
    dropped = 24 - BINARY_DIGITS
    for name in _ROUNDED:
        values = np.ascontiguousarray(rows[name])
        bits = (values.view(np.uint32) + np.uint32(1 << (dropped - 1))) >> dropped << dropped
        rows[name] = np.where(np.isnan(values), values, bits.view(np.float32))
    for name in _PRICES:
        rows[name] = rounded(rows[name], PRICE_DIGITS)


def pack(rows: NDArray[Any]) -> bytes:
    """Return rows, which rise in time and are rounded, as the bytes of a block."""
    decimals = _decimals(rows)
    packed = np.zeros(len(rows), _PACKED)
    for name in MINUTE_ROW.names or ():
        packed[name] = rows[name] if name not in _PRICES else _integers(rows[name], decimals)
    for name in _PRICES[:-1]:
        packed[name] -= packed["close"]
    content = np.empty(packed.nbytes, np.uint8)
    write_columns(_bytes_of(packed), _FIELDS, content)
    return bytes([decimals]) + zlib.compress(content.tobytes(), LEVEL)


def unpack(block: bytes) -> NDArray[Any]:
    """Return the rows of a block; raises ValueError if it is none."""
    try:
        content = zlib.decompress(block[1:])
    except zlib.error as error:
        raise ValueError(str(error)) from error
    count, rest = divmod(len(content), _PACKED.itemsize)
    if rest:
        raise ValueError("is no whole number of rows")
    packed = np.empty(count, _PACKED)
    read_columns(np.frombuffer(content, np.uint8), _FIELDS, _bytes_of(packed))
    rows = np.empty(count, MINUTE_ROW)
    for name in _PRICES[:-1]:
        packed[name] += packed["close"]
    for name in MINUTE_ROW.names or ():
        rows[name] = packed[name] if name not in _PRICES else _prices(packed[name], block[0])
    return rows


def _bytes_of(packed: NDArray[Any]) -> NDArray[np.uint8]:
    return packed.view(np.uint8).reshape(len(packed), -1)


def _decimals(rows: NDArray[Any]) -> int:
    """Return how many decimals all prices have."""
    prices = np.array([rows[name] for name in _PRICES])
    for decimals in range(PRICE_DIGITS + 6):
        steps = prices * 10.0**decimals
        if not (np.abs(steps) < _EXACT).all():
            break
        if (np.rint(steps) / 10.0**decimals == prices).all():
            return decimals
    return _BITS


def _integers(prices: NDArray[np.float64], decimals: int) -> NDArray[np.int64]:
    if decimals == _BITS:
        return np.ascontiguousarray(prices).view(np.int64)
    return np.rint(prices * 10.0**decimals).astype(np.int64)


def _prices(integers: NDArray[np.int64], decimals: int) -> NDArray[np.float64]:
    if decimals == _BITS:
        return np.ascontiguousarray(integers).view(np.float64)
    return integers / 10.0**decimals
