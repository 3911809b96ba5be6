"""Values of JSON at a position of a text of bytes, each with the position after it.

That position is -1 if the value is not plain: of another form, or for whoever reads it with more
care. What is read at -1 is at -1 too, so that a chain of values is tested once, at its end. Every
text ends with a byte that no value has, so that none of them is read beyond the end.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from volsvc.compiled import kernel

# Signs of ASCII.
_QUOTE: Final = 34
_POINT: Final = 46
_ZERO: Final = 48
_NINE: Final = 57
_BACKSLASH: Final = 92
# Whole numbers stay below ten times this, and so below 2**63.
_MOST_BEFORE_DIGIT: Final = (2**63 - 1) // 10
# Doubles hold every whole number below this, and every one of the powers of ten.
_EXACT: Final = 2**53
_POWERS: Final = np.array([float(10**power) for power in range(23)])
# Digits of a decimal stay below this, so that rounding them to a double stays below 2**63.
_MOST_DIGITS: Final = 2**62
# Multiplied by this, a double splits into two of at most 26 digits, whose products are exact.
_SPLIT: Final = float(2**27 + 1)
# Bound of the error of a correction to a quotient, relative to the quotient: it is below 2**-100.
_SLACK: Final = 2.0**-82


@kernel
def after(text: Any, at: int, expected: bytes) -> int:
    """Return the position after the expected bytes; -1 if the text has others."""
    if at < 0:
        return -1
    for index in range(len(expected)):
        if text[at + index] != expected[index]:
            return -1
    return at + len(expected)


@kernel
def after_text(text: Any, at: int, most: int) -> int:
    """Return the position of the quote that ends a text of at most `most` signs of plain ASCII."""
    if at < 0:
        return -1
    end = at
    while 32 <= text[end] < 127 and text[end] != _QUOTE and text[end] != _BACKSLASH:
        end += 1
    return end if text[end] == _QUOTE and end - at <= most else -1


@kernel
def digits(text: Any, at: int, number: int) -> Any:
    """Return a number with the digits at a position appended; see the module for the position."""
    while _ZERO <= text[at] <= _NINE:
        if number >= _MOST_BEFORE_DIGIT:
            return number, -1
        number = number * 10 + int(text[at]) - _ZERO
        at += 1
    return number, at


@kernel
def whole(text: Any, at: int) -> Any:
    """Return a whole number from 0 on; see the module for the position."""
    if at < 0:
        return 0, -1
    number, end = digits(text, at, 0)
    # JSON has no leading zeros.
    if end == at or (text[at] == _ZERO and end != at + 1):
        return 0, -1
    return number, end


@kernel
def whole_or_null(text: Any, at: int) -> Any:
    """Return a whole number from 0 on, -1 for null; see the module for the position."""
    end = after(text, at, b"null")
    if end >= 0:
        return -1, end
    return whole(text, at)


@kernel
def decimal(text: Any, at: int) -> Any:
    """Return the double nearest to a number without sign and exponent."""
    number, at = whole(text, at)
    decimals = 0
    if at >= 0 and text[at] == _POINT:
        point = at
        number, at = digits(text, at + 1, number)
        decimals = at - point - 1
        if decimals < 1 or decimals >= len(_POWERS):
            return math.nan, -1
    if at < 0:
        return math.nan, -1
    value = quotient(number, _POWERS[decimals])
    return value, at if value >= 0.0 else -1


@kernel
def decimal_or_null(text: Any, at: int) -> Any:
    """Return a number as `decimal` does, NaN for null."""
    end = after(text, at, b"null")
    if end >= 0:
        return math.nan, end
    return decimal(text, at)


@kernel
def quotient(number: int, divisor: float) -> float:
    """Return the double nearest to a quotient by a power of ten; NaN if that is not certain.

    Dekker's way to two doubles (Numerische Mathematik 18, 1971), and Ziv's test of rounding.
    """
    if number < _EXACT:
        return float(number) / divisor
    if number >= _MOST_DIGITS:
        return math.nan
    high = float(number)
    low = float(number - int(high))
    rough = high / divisor
    product = rough * divisor
    rough_high, rough_low = _halves(rough)
    divisor_high, divisor_low = _halves(divisor)
    error = rough_high * divisor_high - product
    error += rough_high * divisor_low + rough_low * divisor_high
    error += rough_low * divisor_low
    correction = ((high - product) + (low - error)) / divisor
    slack = rough * _SLACK
    nearest = rough + (correction - slack)
    return nearest if nearest == rough + (correction + slack) else math.nan


@kernel
def _halves(number: float) -> Any:
    """Split a double into two whose products with such others are exact."""
    product = number * _SPLIT
    high = product - (product - number)
    return high, number - high
