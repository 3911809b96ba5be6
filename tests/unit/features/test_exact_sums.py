"""Exact sums of returns against fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.features.kernels import exact_sums
from volsvc.features.kernels.exact_sums import SUMS, UNIT_BITS
from volsvc.features.kernels.price_window import log_return


def in_units(value: float) -> float:
    """Return a number as a multiple of the unit, which the return of two doubles is."""
    return math.ldexp(round(math.ldexp(value, UNIT_BITS)), -UNIT_BITS)


sizes = st.floats(-127, 127) | st.floats(-1e-4, 1e-4) | st.floats(-(2.0**-50), 2.0**-50)
least = st.integers(-(2**60), 2**60).map(lambda units: math.ldexp(units, -UNIT_BITS))
returns = st.lists(sizes.map(in_units) | least, max_size=40)


def sums_of(values: Sequence[float]) -> Any:
    """Return a record of SUMS."""
    sums = np.zeros(1, SUMS)[0]
    for value in values:
        exact_sums.add(sums, value, 1)
    return sums


def exact(values: Sequence[float], n: int) -> tuple[float, float]:
    """Return mean and deviation of values and of as many zeros as make `n`, rounded once each."""
    total = sum(map(Fraction, values), Fraction())
    squares = sum((Fraction(value) ** 2 for value in values), Fraction())
    mean = float(total / n) if n else 0.0
    variance = (n * squares - total**2) / (n * (n - 1)) if n > 1 else Fraction()
    return mean, math.sqrt(float(variance))


def found(sums: Any, n: int) -> tuple[float, float]:
    return exact_sums.mean(sums, n), exact_sums.deviation(sums, n)


@given(returns, st.integers(0, 10) | st.sampled_from([1_000, 65_535, 999_900]))
def test_mean_and_deviation_are_those_of_fractions(values: list[float], more: int) -> None:
    """Both are correctly rounded, whatever the sizes of the returns, and up to a million of them.

    Reading them changes nothing.
    """
    n = len(values) + more
    sums = sums_of(values)
    before = sums.tobytes()
    assert found(sums, n) == exact(values, n)
    assert found(sums, n) == exact(values, n)
    assert sums.tobytes() == before


@given(returns, returns)
def test_what_leaves_is_gone(kept: list[float], left: list[float]) -> None:
    """Sums depend on the returns in them alone, digit by digit."""
    sums = sums_of([*left, *kept])
    for value in left:
        exact_sums.add(sums, value, -1)
    assert sums.tobytes() == sums_of(kept).tobytes()


@pytest.mark.parametrize("value", [127.999, -127.999, 2.0**-53, -(2.0**-UNIT_BITS)])
def test_a_million_equal_returns(value: float) -> None:
    """The largest window of the largest returns fits, and so does that of the least ones."""
    sums = sums_of([value])
    sums.returns[:] *= 1_000_000
    sums.squares[:] *= 1_000_000
    assert found(sums, 1_000_000) == (value, 0.0)


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9), st.integers(0, 3))
def test_returns_of_prices_are_multiples_of_the_unit(
    price: float, other: float, steps: int
) -> None:
    """So that nothing of one is lost, not even of neighbouring doubles."""
    close = price
    for _ in range(steps):
        close = math.nextafter(close, math.inf)
    for previous in (other, close):
        value = log_return(price, previous)
        assert value == in_units(value)
