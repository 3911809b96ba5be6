"""Cells of a table as text: names, times as of `format_time`, floats and integers as of `str`.

`rows` is an array of bytes with a row of the table in each, of which `ends` bytes are written. Each
kernel adds one cell to each row, and `mark` after it. There has to be room for the widths below.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from volsvc.compiled import kernel
from volsvc.sources.kernels.decimals import shortest

# Bytes of a time, a float and an integer, with a mark.
TIME_WIDTH: Final = 31
FLOAT_WIDTH: Final = 25
INTEGER_WIDTH: Final = 21

_ZERO, _MINUS, _PLUS, _POINT, _COLON, _T, _Z, _E = (int(byte) for byte in b"0-+.:TZe")
_NAN: Final = np.frombuffer(b"nan", np.uint8)
_INFINITY: Final = np.frombuffer(b"inf", np.uint8)
_MAGNITUDE: Final = 2**63 - 1
_BITS_OF_INFINITY: Final = 0x7FF << 52
# Digits before the decimal point with which a float is written without an exponent.
_MOST_BEFORE_POINT: Final = 16
_LEAST_BEFORE_POINT: Final = -3
_SECOND: Final = 10**9
_HUNDRED: Final = np.uint64(100)
_TENS: Final = np.array([10**power for power in range(19)])
# The digits of 00 to 99.
_PAIRS: Final = np.array([divmod(pair, 10) for pair in range(100)], np.uint8) + np.uint8(_ZERO)


@kernel
def add_names(rows: Any, ends: Any, mark: int, codes: Any, names: Any, lengths: Any) -> None:
    """Add names, given as rows of bytes of which `lengths` count, by their index."""
    for row in range(len(ends)):
        code = codes[row]
        at = ends[row]
        for byte in range(lengths[code]):
            rows[row, at + byte] = names[code, byte]
        _end(rows, ends, row, at + lengths[code], mark)


@kernel
def add_integers(rows: Any, ends: Any, mark: int, values: Any) -> None:
    """Add integers above the least of 64 bits."""
    for row in range(len(ends)):
        at = ends[row]
        value = values[row]
        if value < 0:
            rows[row, at] = _MINUS
            at += 1
        value = abs(value)
        _end(rows, ends, row, _write(rows[row], at, value, _count(value)), mark)


@kernel
def add_floats(rows: Any, ends: Any, mark: int, bits: Any) -> None:
    """Add floats, given as the integers of their bits."""
    for row in range(len(ends)):
        _end(rows, ends, row, _write_float(rows[row], ends[row], bits[row]), mark)


@kernel
def add_times(rows: Any, ends: Any, mark: int, times_ns: Any) -> None:
    """Add times from the epoch on in RFC 3339, with 3, 6 or 9 decimals, as few as hold them."""
    for row in range(len(ends)):
        text = rows[row]
        seconds = times_ns[row] // _SECOND
        at = _write_date(text, ends[row], seconds // 86_400)
        text[at] = _T
        at = _write(text, at + 1, seconds // 3_600 % 24, 2)
        text[at] = _COLON
        at = _write(text, at + 1, seconds // 60 % 60, 2)
        text[at] = _COLON
        at = _write(text, at + 1, seconds % 60, 2)
        text[at] = _POINT
        decimals = 9
        fraction = times_ns[row] % _SECOND
        while decimals > 3 and fraction % 1_000 == 0:
            decimals -= 3
            fraction //= 1_000
        at = _write(text, at + 1, fraction, decimals)
        text[at] = _Z
        _end(rows, ends, row, at + 1, mark)


@kernel
def pack(rows: Any, ends: Any, text: Any) -> int:
    """Write the rows one after the other, and return the number of bytes."""
    count = 0
    for row in range(len(ends)):
        for byte in range(ends[row]):
            text[count + byte] = rows[row, byte]
        count += ends[row]
    return count


@kernel
def _end(rows: Any, ends: Any, row: int, at: int, mark: int) -> None:
    rows[row, at] = mark
    ends[row] = at + 1


@kernel
def _count(value: Any) -> int:
    """Return the number of digits of an integer that is not negative."""
    count = 1
    while count < len(_TENS) and value >= _TENS[count]:
        count += 1
    return count


@kernel
def _write(text: Any, at: int, value: Any, digits: int) -> int:
    """Write an integer with a number of digits, and return where it ends."""
    # Two digits at a time, and without a sign, whose division is the slower one.
    rest, place = np.uint64(value), at + digits
    while place > at + 1:
        above = rest // _HUNDRED
        pair = np.int64(rest - above * _HUNDRED)
        place -= 2
        text[place] = _PAIRS[pair, 0]
        text[place + 1] = _PAIRS[pair, 1]
        rest = above
    if place > at:
        text[at] = _ZERO + np.int64(rest)
    return at + digits


@kernel
def _write_date(text: Any, at: int, day: int) -> int:
    """Write the date of a day since the epoch."""
    # Years that begin in March have the leap day at their end.
    day += 719_468
    era, of_era = day // 146_097, day % 146_097
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    at = _write(text, at, era * 400 + year + (1 if month >= 10 else 0), 4)
    text[at] = _MINUS
    at = _write(text, at + 1, month + 3 if month < 10 else month - 9, 2)
    text[at] = _MINUS
    return _write(text, at + 1, of_year - (153 * month + 2) // 5 + 1, 2)


@kernel
def _write_float(text: Any, at: int, bits: int) -> int:
    magnitude = bits & _MAGNITUDE
    if magnitude > _BITS_OF_INFINITY:
        return _copy(text, at, _NAN)
    if bits < 0:
        text[at] = _MINUS
        at += 1
    if magnitude == _BITS_OF_INFINITY:
        return _copy(text, at, _INFINITY)
    word, power = shortest(magnitude) if magnitude else (np.uint64(0), 0)
    # Not int(), which would leave it without a sign.
    digits = np.int64(word)
    count = _count(digits)
    before_point = count + power
    if _LEAST_BEFORE_POINT <= before_point <= _MOST_BEFORE_POINT:
        return _write_plain(text, at, digits, count, before_point)
    at = _write_with_point(text, at, digits, count, 1)
    text[at] = _E
    exponent = before_point - 1
    text[at + 1] = _PLUS if exponent > 0 else _MINUS
    return _write(text, at + 2, abs(exponent), max(2, _count(abs(exponent))))


@kernel
def _copy(text: Any, at: int, word: Any) -> int:
    for byte in range(len(word)):
        text[at + byte] = word[byte]
    return at + len(word)


@kernel
def _write_plain(text: Any, at: int, digits: Any, count: int, before_point: int) -> int:
    """Write digits without an exponent, with at least one on each side of the point."""
    if before_point <= 0:
        text[at] = _ZERO
        text[at + 1] = _POINT
        at = _write(text, at + 2, 0, -before_point)
        return _write(text, at, digits, count)
    if before_point < count:
        return _write_with_point(text, at, digits, count, before_point)
    at = _write(text, at, digits, count)
    at = _write(text, at, 0, before_point - count)
    text[at] = _POINT
    text[at + 1] = _ZERO
    return at + 2


@kernel
def _write_with_point(text: Any, at: int, digits: Any, count: int, before_point: int) -> int:
    """Write digits with a point after some of them, unless these are all."""
    end = _write(text, at, digits, count)
    if count == before_point:
        return end
    for place in range(end, at + before_point, -1):
        text[place] = text[place - 1]
    text[at + before_point] = _POINT
    return end + 1
