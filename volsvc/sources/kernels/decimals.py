"""The shortest decimal number of a float, as `repr` has it.

This is Schubfach (R. Giulietti, "The Schubfach way to render doubles", 2020), in the form that
A. Bolz gave it: the decimals of a length are like pigeonholes, of which the interval of numbers
that round to a float has one or none. Words of 64 bits are unsigned.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from volsvc.compiled import kernel

_WORD: Final = np.uint64
_ONE: Final = _WORD(1)
_TWO: Final = _WORD(2)
_FOUR: Final = _WORD(4)
_TEN: Final = _WORD(10)
_FORTY: Final = _WORD(40)
_HALF_BITS: Final = _WORD(32)
_HALF: Final = _WORD(2**32 - 1)
_SIGNIFICAND_BITS: Final = 52
_HIDDEN_BIT: Final = _WORD(2**52)
_SIGNIFICAND: Final = _WORD(2**52 - 1)
_EXPONENT_BIAS: Final = 1_075
# Exponents of ten that shortening a float needs.
_FIRST_POWER: Final = -292
_LAST_POWER: Final = 324


def _floor_log2(power: int) -> int:
    """Return the exponent of two below a power of ten."""
    return (power * 1_741_647) >> 19


def _scaled_power(power: int) -> tuple[int, int]:
    """Return the two words of 10**power, scaled to 128 bits and rounded up."""
    shift = 127 - _floor_log2(power)
    above, below = 10 ** max(power, 0) << max(shift, 0), 10 ** max(-power, 0) << max(-shift, 0)
    high, low = divmod(-(-above // below), 2**64)
    return high, low


_POWERS: Final = np.array(
    [_scaled_power(power) for power in range(_FIRST_POWER, _LAST_POWER + 1)], np.uint64
)


@kernel
def shortest(bits: int) -> Any:
    """Return digits as a word, and the exponent of ten that they are times.

    `bits` are those of a positive finite float, without its sign.
    """
    word = _WORD(bits)
    fraction = word & _SIGNIFICAND
    biased = bits >> _SIGNIFICAND_BITS
    if biased:
        digits = fraction | _HIDDEN_BIT
        exponent = biased - _EXPONENT_BIAS
        if -_SIGNIFICAND_BITS <= exponent <= 0:
            whole = digits >> _WORD(-exponent)
            if whole << _WORD(-exponent) == digits:
                return _without_zeros(whole, 0)
    else:
        digits = fraction
        exponent = 1 - _EXPONENT_BIAS
    # The float below a power of two is nearer than the one above it.
    is_near = fraction == 0 and biased > 1
    power = (exponent * 1_262_611 - (524_031 if is_near else 0)) >> 22
    shift = _WORD(exponent + ((-power * 1_741_647) >> 19) + 1)
    high, low = _POWERS[-power - _FIRST_POWER]
    center = _FOUR * digits
    least = _rounded_to_odd(high, low, (center - (_ONE if is_near else _TWO)) << shift)
    middle = _rounded_to_odd(high, low, center << shift)
    most = _rounded_to_odd(high, low, (center + _TWO) << shift)
    # The ends of the interval round to an even float alone.
    if digits & _ONE:
        least += _ONE
        most -= _ONE
    found, power = _nearest(least, middle, most, power)
    return _without_zeros(found, power)


@kernel
def _nearest(least: Any, middle: Any, most: Any, power: int) -> Any:
    """Return the shortest decimal in an interval, in quarters of 10**power, near its middle."""
    found = middle // _FOUR
    if found >= _TEN:
        shorter = found // _TEN
        is_below = least <= _FORTY * shorter
        is_above = _FORTY * shorter + _FORTY <= most
        if is_below != is_above:
            return shorter + (_ONE if is_above else _WORD(0)), power + 1
    is_below = least <= _FOUR * found
    is_above = _FOUR * found + _FOUR <= most
    if is_below != is_above:
        return found + (_ONE if is_above else _WORD(0)), power
    between = _FOUR * found + _TWO
    rounds_up = middle > between or (middle == between and found & _ONE == _ONE)
    return found + (_ONE if rounds_up else _WORD(0)), power


@kernel
def _without_zeros(digits: Any, power: int) -> Any:
    while digits % _TEN == 0:
        digits //= _TEN
        power += 1
    return digits, power


@kernel
def _high_word(a: Any, b: Any) -> Any:
    """Return the upper word of a product."""
    a_low, a_high, b_low, b_high = a & _HALF, a >> _HALF_BITS, b & _HALF, b >> _HALF_BITS
    first = a_high * b_low + ((a_low * b_low) >> _HALF_BITS)
    second = a_low * b_high + (first & _HALF)
    return a_high * b_high + (first >> _HALF_BITS) + (second >> _HALF_BITS)


@kernel
def _rounded_to_odd(high: Any, low: Any, factor: Any) -> Any:
    """Return the upper word of a product of three; its last bit is set if the rest is not 0."""
    rest = high * factor
    total = rest + _high_word(low, factor)
    word = _high_word(high, factor) + (_ONE if total < rest else _WORD(0))
    return word | (_ONE if total > _ONE else _WORD(0))
