"""Exact sums of log returns and of their squares, and the mean and deviation that follow.

Running sums of floats drift: after one outlier the error is 1e-5 and more, and a flat window then
has a standard deviation above 0. Here each return is an integer multiple of 2**-106, the last
binary digit that the log return of two doubles can have. Sums are kept as digits of 28 bits. What
enters a sum leaves it digit by digit, so digits carry only when the sums are read, and never
overflow. Results depend on the returns inside the window alone, and an update costs O(1).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from volsvc.compiled import kernel, record_type

# The unit of the sums is 2**-UNIT_BITS. The least relative step between doubles is 2**-53, which
# is itself a double of 53 binary digits.
UNIT_BITS: Final = 106
DIGIT_BITS: Final = 28
_DIGIT: Final = (1 << DIGIT_BITS) - 1
# A return is below 2**7, so a million of them (the largest window) need 133 bits, squares 246.
SUM_DIGITS: Final = 5
SQUARE_DIGITS: Final = 10
# Digits after the point of a quotient: its leading 53 bits are exact even for the smallest one.
_FRACTION_DIGITS: Final = 4
# Half of a mantissa, whose square has at most 54 bits.
_HALF_BITS: Final = 27
_HALF: Final = (1 << _HALF_BITS) - 1

SUMS = record_type([("returns", "i8", (SUM_DIGITS,)), ("squares", "i8", (SQUARE_DIGITS,))])


@kernel
def _place(digits: Any, number: int, shift: int, sign: int) -> None:
    """Add sign * number * 2**shift to digits; `number` has at most 56 bits."""
    at = shift // DIGIT_BITS
    shift -= at * DIGIT_BITS
    low = (number & _DIGIT) << shift
    high = (number >> DIGIT_BITS) << shift
    digits[at] += sign * (low & _DIGIT)
    digits[at + 1] += sign * ((low >> DIGIT_BITS) + (high & _DIGIT))
    digits[at + 2] += sign * (high >> DIGIT_BITS)


@kernel
def add(sums: Any, log_return: float, sign: int) -> None:
    """Add a return to the sums (sign 1), or take it out of them (sign -1)."""
    if log_return == 0.0:
        return
    fraction, exponent = math.frexp(abs(log_return))
    mantissa = int(math.ldexp(fraction, 53))
    shift = exponent - 53 + UNIT_BITS
    if shift < 0:
        # Below the unit there is nothing in a return of two doubles.
        mantissa >>= min(-shift, 62)
        shift = 0
    _place(sums.returns, mantissa, shift, sign if log_return > 0 else -sign)
    high, low = mantissa >> _HALF_BITS, mantissa & _HALF
    _place(sums.squares, low * low, 2 * shift, sign)
    _place(sums.squares, 2 * high * low, 2 * shift + _HALF_BITS, sign)
    _place(sums.squares, high * high, 2 * shift + 2 * _HALF_BITS, sign)


@kernel
def _carry(digits: Any) -> None:
    """Bring all digits but the last into [0, 2**DIGIT_BITS)."""
    for at in range(len(digits) - 1):
        more = digits[at] >> DIGIT_BITS
        digits[at] -= more << DIGIT_BITS
        digits[at + 1] += more


@kernel
def _divide(digits: Any, divisor: int) -> int:
    """Divide normalised digits by an integer below 2**34 in place, and return the remainder."""
    rest = 0
    for back in range(len(digits)):
        at = len(digits) - 1 - back
        rest = (rest << DIGIT_BITS) + digits[at]
        digits[at] = rest // divisor
        rest -= digits[at] * divisor
    return rest


@kernel
def _rounded(digits: Any, rest: int) -> float:
    """Return the double nearest to normalised digits and a rest below the least of them."""
    top = len(digits) - 1
    while top > 1 and digits[top] == 0:
        top -= 1
    if top < 2:
        # Nothing but 0 is so small, with _FRACTION_DIGITS after the point.
        return 0.0
    bits = 1
    while bits < DIGIT_BITS and digits[top] >> bits != 0:
        bits += 1
    # 57 to 62 bits, of which the last says whether anything follows: enough to round once.
    part = min(34 - bits, DIGIT_BITS)
    left = DIGIT_BITS - part
    leading = (digits[top] << DIGIT_BITS) + digits[top - 1]
    leading = (leading << part) + (digits[top - 2] >> left)
    more = rest != 0 or digits[top - 2] & ((1 << left) - 1) != 0
    for at in range(top - 2):
        more = more or digits[at] != 0
    if more:
        leading |= 1
    return math.ldexp(float(leading), int((top - 2) * DIGIT_BITS + left))


@kernel
def mean(sums: Any, n: int) -> float:
    """Return the mean of the `n` returns in the sums, correctly rounded; 0.0 without returns."""
    if n < 1:
        return 0.0
    digits = np.zeros(SUM_DIGITS + _FRACTION_DIGITS, np.int64)
    digits[_FRACTION_DIGITS:] = sums.returns
    _carry(digits)
    sign = 1.0
    if digits[-1] < 0:
        sign = -1.0
        digits[_FRACTION_DIGITS:] = -sums.returns
        _carry(digits)
    rest = _divide(digits, n)
    scale = -(UNIT_BITS + _FRACTION_DIGITS * DIGIT_BITS)
    return sign * math.ldexp(_rounded(digits, rest), scale)


@kernel
def deviation(sums: Any, n: int) -> float:
    """Return the sample standard deviation (ddof 1) of `n` returns; 0.0 with fewer than two.

    It is the root of the correctly rounded (n Σr² - (Σr)²) / (n (n - 1)).
    """
    if n < 2:
        return 0.0
    squares = sums.squares.copy()
    _carry(squares)
    total = sums.returns.copy()
    _carry(total)
    if total[-1] < 0:
        total = -sums.returns
        _carry(total)
    digits = np.zeros(SQUARE_DIGITS + _FRACTION_DIGITS, np.int64)
    for at in range(SQUARE_DIGITS):
        digits[_FRACTION_DIGITS + at] = squares[at] * n
    _carry(digits)
    # Digit by digit, carried after each row: five products of 56 bits fit, and their carries.
    for first in range(SUM_DIGITS):
        for second in range(SUM_DIGITS):
            digits[_FRACTION_DIGITS + first + second] -= total[first] * total[second]
    _carry(digits)
    rest = _divide(digits, n)
    rest += _divide(digits, n - 1)
    scale = -(2 * UNIT_BITS + _FRACTION_DIGITS * DIGIT_BITS)
    return math.sqrt(math.ldexp(_rounded(digits, rest), scale))
