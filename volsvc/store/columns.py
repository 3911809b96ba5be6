"""Columns of what a store keeps, as people and programs read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Decimal digits of numbers that are not prices.
DIGITS: Final = 6
_MINUTE_S: Final = 60
# Texts of floats beyond these powers of ten would not be exact.
_LEAST: Final = 1e-300

Columns = Mapping[str, NDArray[Any]]


def end_times(minutes: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """Return the ends of minutes, which count from the epoch, as RFC 3339."""
    seconds = (minutes.astype(np.int64) + 1) * _MINUTE_S
    return np.char.add(np.datetime_as_string(seconds.astype("M8[s]")), ".000Z")


def rounded(values: NDArray[np.floating[Any]], digits: int = DIGITS) -> NDArray[np.float64]:
    """Return numbers to so many significant digits; NaN stays."""
    exact = values.astype(np.float64)
    # Of a number and NaN this takes the number.
    sizes = np.fmax(np.abs(exact), _LEAST)
    powers = np.clip(digits - 1 - np.floor(np.log10(sizes)), -300, 300)
    # A power that is whole as a double, so that the quotient is the nearest to the decimal text.
    scale = 10.0 ** np.abs(powers)
    decimal: NDArray[np.float64] = np.where(
        powers >= 0, np.rint(exact * scale) / scale, np.rint(exact / scale) * scale
    )
    return decimal


def rows_of(columns: Columns, *, missing: Any = None) -> Iterator[Sequence[Any]]:
    """Yield the rows of columns as plain values, with `missing` in the place of NaN."""
    return zip(*(_plain(column, missing) for column in columns.values()), strict=True)


def _plain(column: NDArray[Any], missing: Any) -> list[Any]:
    values: list[Any] = column.tolist()
    if column.dtype.kind == "f":
        for row in np.flatnonzero(np.isnan(column)).tolist():
            values[row] = missing
    return values


def length(columns: Columns) -> int:
    """Return the number of rows."""
    return len(next(iter(columns.values())))
