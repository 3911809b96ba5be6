"""Columns of a table as arrays of times, numbers and texts.

A column is a list of values, or an Arrow array whose plain values are converted all at once. Both
ways give the same: whatever is not plain goes, value by value, through the parsers of
`volsvc.domain.fields`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import InvalidTickError
from volsvc.domain.fields import optional_number
from volsvc.domain.times import EARLIEST_NS

# A list, or an Arrow array; a table is read without Arrow where that is not installed.
Column = Any
Faults = dict[int, InvalidTickError]
Times = NDArray[np.int64]
Numbers = NDArray[np.float64]
T = TypeVar("T")

# Exclusive upper limits of epoch numbers and the decimals of their units down to ns.
_UNITS: Final = ((10**11, 9), (10**14, 6), (10**17, 3))
_PER_SECOND: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
# An epoch number of at most 18 digits: seconds with eight decimals, or milliseconds with five.
_PLAIN_EPOCH: Final = r"^(\d{1,10}(\.\d{0,8})?|\d{11,13}(\.\d{0,5})?|\d{14,16}(\.\d{0,2})?)$"
_LARGEST: Final = 2**63 - 1
# Stands for a time that is not known.
NO_TIME: Final = 0
# ISO 8601 with seconds, at most nine decimals, and `Z` or no zone: what Arrow reads as we do.
_PLAIN_ISO: Final = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?Z?$"


def values_of(column: Column) -> list[Any]:
    """Return the values of a column, with times as ns since the epoch."""
    if isinstance(column, list):
        return column
    unit = getattr(column.type, "unit", None)
    # Not as datetimes, which would cut nanoseconds to microseconds.
    if unit and str(column.type).startswith("timestamp"):
        epoch = column.cast("int64").to_pylist()
        return [None if value is None else value * _PER_SECOND[unit] for value in epoch]
    values: list[Any] = column.to_pylist()
    # Blanks around a cell are no part of it.
    return [value.strip() if isinstance(value, str) else value for value in values]


def plain(column: Any) -> Column:
    """Return an Arrow column as a single array of a plain type: texts, numbers or times."""
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    try:
        # As texts decimals keep every digit; binary texts come from databases and Spark.
        texts = pa.types.is_decimal(kind) or pa.types.is_binary(kind)
        if texts or pa.types.is_large_binary(kind) or pa.types.is_large_string(kind):
            return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return column.to_pylist()
    return column


def arrow_of(values: list[Any]) -> Column:
    """Return values of JSON as an Arrow array if they are of one plain type; else as they are."""
    try:
        import pyarrow as pa

        # Arrow would make one type of several; that of nothing alone has no values.
        kinds = set(map(type, values)) - {type(None)}
        return pa.array(values) if kinds in ({str}, {int}, {float}) else values
    # Too large a number, or half of a surrogate pair.
    except (ImportError, ValueError, OverflowError):
        return values


def array_of(column: Any, nothing: float) -> NDArray[Any]:
    """Return an Arrow array of numbers as one of numpy, with `nothing` for nulls.

    It is not to be written to.
    """
    kind = np.dtype(str(column.type))
    if column.null_count == len(column):
        return np.full(len(column), nothing, kind)
    # Arrow's own ways import pandas, where that is installed, for a third of a second.
    data = column.buffers()[1]
    values = np.frombuffer(data, kind, len(column), column.offset * kind.itemsize)
    if not column.null_count:
        return values
    known = np.from_dlpack(column.is_valid().cast("uint8"))
    return np.where(known, values, kind.type(nothing))


def mapped(column: Column, parse: Callable[[Any], T], faults: Faults, nothing: T) -> list[T]:
    """Return each value parsed, or `nothing` with the error in `faults`, by row."""
    found = []
    for row, value in enumerate(values_of(column)):
        try:
            found.append(parse(value))
        except InvalidTickError as error:
            faults.setdefault(row, error)
            found.append(nothing)
    return found


class Coded(NamedTuple, Generic[T]):
    """A column of few different values: these, and by row the index of its value."""

    values: list[T]
    codes: NDArray[np.int64]

    def by_row(self) -> list[T]:
        """Return the value of each row."""
        return [self.values[code] for code in self.codes.tolist()]


def coded(values: Iterable[T]) -> Coded[T]:
    """Return hashable values as a column of few different ones."""
    numbers: dict[T, int] = {}
    codes = [numbers.setdefault(value, len(numbers)) for value in values]
    return Coded(list(numbers), np.array(codes, np.int64))


def mapped_once(column: Column, parse: Callable[[Any], T], faults: Faults, nothing: T) -> Coded[T]:
    """Return `mapped` of a column with few different values, each of which is parsed once."""
    if isinstance(column, list):
        return coded(mapped(column, parse, faults, nothing))
    held = column.dictionary_encode()
    # Nothing has no code in a dictionary.
    different = [*values_of(held.dictionary), None]
    wrong: Faults = {}
    known = mapped(different, parse, wrong, nothing)
    codes = array_of(held.indices, len(different) - 1)
    for row in np.flatnonzero(np.isin(codes, list(wrong))).tolist() if wrong else ():
        faults.setdefault(row, wrong[int(codes[row])])
    return Coded(known, codes)


def times(
    column: Column, parse: Callable[[Any], int], faults: Faults, *, is_plain: bool, latest_ns: int
) -> Times:
    """Return times in ns since the epoch, NO_TIME where `faults` has the error.

    `parse` is the careful way. It alone is taken unless `is_plain`.
    """
    found = _plain_times(column) if is_plain and not isinstance(column, list) else None
    if found is None:
        return np.array(mapped(column, parse, faults, NO_TIME), dtype=np.int64)
    odd = np.flatnonzero((found < EARLIEST_NS) | (found >= latest_ns))
    if len(odd):
        careful: Faults = {}
        found[odd] = mapped(values_of(column.take(odd)), parse, careful, NO_TIME)
        for index, error in careful.items():
            faults.setdefault(int(odd[index]), error)
    return found


def _plain_times(column: Any) -> Times | None:
    """Return the times of an Arrow array; None if they are not all plain.

    Those out of range are NO_TIME.
    """
    import pyarrow as pa

    kind = column.type
    try:
        if pa.types.is_timestamp(kind):
            scale = _PER_SECOND[kind.unit]
            epoch = array_of(column.cast(pa.int64()), 0)
            return np.where(np.abs(epoch) < 2**62 // scale, epoch, 0) * scale
        if pa.types.is_integer(kind):
            return _scaled(array_of(column.cast(pa.int64()), 0))
        if pa.types.is_floating(kind):
            # repr() of a float is its shortest decimal, with exactly the digits that were meant.
            column = pa.array([None if v is None else repr(v) for v in column.to_pylist()])
            kind = column.type
        return _times_of_texts(column) if pa.types.is_string(kind) else None
    except pa.ArrowInvalid:
        return None


def _times_of_texts(column: Any) -> Times | None:
    import pyarrow as pa
    from pyarrow import compute

    known = column.drop_null()
    first = known[0].as_py() if len(known) else ""
    if "-" not in first:
        return _times_of_decimals(column)
    if not compute.all(compute.match_substring_regex(column, _PLAIN_ISO)).as_py():
        return None
    # Arrow takes a zone from all of them or from none.
    kind = pa.timestamp("ns", "UTC" if first.endswith("Z") else None)
    return array_of(column.cast(kind).cast(pa.int64()), 0).copy()


def _times_of_decimals(column: Any) -> Times | None:
    import pyarrow as pa
    from pyarrow import compute

    whole_numbers = whole_column(column)
    if whole_numbers is not None:
        return _scaled(array_of(whole_numbers, 0))
    if not compute.all(compute.match_substring_regex(column, _PLAIN_EPOCH)).as_py():
        return None
    dots = array_of(compute.find_substring(column, "."), -1)
    length = array_of(compute.binary_length(column), 0)
    decimals = np.where(dots < 0, 0, length - dots - 1)
    digits = array_of(compute.replace_substring(column, ".", "").cast(pa.int64()), 0)
    whole = digits // 10**decimals
    # Nanoseconds in a unit, by the whole part's size; what is smaller than that is cut off.
    unit = _unit_digits(whole)
    shift = unit - decimals
    scaled = np.where(
        shift >= 0, digits * 10 ** np.maximum(shift, 0), digits // 10 ** np.maximum(-shift, 0)
    )
    return np.where(whole < _LARGEST // 10**unit, scaled, NO_TIME)


def _scaled(epoch: Any) -> Times:
    """Return epoch numbers of any units in ns, NO_TIME for those that have no such time."""
    unit = 10 ** _unit_digits(epoch)
    return np.where((epoch >= 0) & (epoch < _LARGEST // unit), epoch * unit, NO_TIME)


def _unit_digits(epoch: Any) -> Times:
    digits = np.zeros(len(epoch), np.int64)
    for limit, decimals in reversed(_UNITS):
        digits[epoch < limit] = decimals
    return digits


def whole_column(column: Any) -> Any:
    """Return an Arrow array of whole numbers, of texts or integers; None if some are none."""
    import pyarrow as pa
    from pyarrow import compute

    # Arrow would take hexadecimal numbers too.
    if pa.types.is_string(column.type):
        digits = compute.all(compute.match_substring_regex(column, r"^\d{1,19}$"))
        if digits.as_py() is False:
            return None
    elif not pa.types.is_integer(column.type):
        return None
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def numbers(column: Column | None, rows: int) -> Numbers:
    """Return finite numbers, NaN for nothing and for anything else."""
    if column is None:
        return np.full(rows, math.nan)
    if not isinstance(column, list):
        import pyarrow as pa

        try:
            if pa.types.is_string(column.type):
                found = column.cast(pa.float64())
            elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
                found = column.cast(pa.float64(), safe=False)
            else:
                found = None
            if found is not None:
                array = array_of(found, math.nan).copy()
                array[~np.isfinite(array)] = math.nan
                return array
        except pa.ArrowInvalid:
            pass
    careful = map(optional_number, values_of(column))
    return np.array([math.nan if value is None else value for value in careful], dtype=np.float64)


def optional(array: Numbers) -> Sequence[float | None]:
    """Return numbers with None for NaN."""
    listed: list[float | None] = array.tolist()
    if not np.isnan(array).any():
        return listed
    return [None if value != value else value for value in listed]


def with_decimal_points(column: Column) -> Column:
    """Return a column of texts with points for decimal commas."""
    if isinstance(column, list):
        return [value.replace(",", ".") if isinstance(value, str) else value for value in column]
    from pyarrow import compute

    return compute.replace_substring(column, ",", ".")
