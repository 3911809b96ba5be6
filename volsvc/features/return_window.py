"""Exact mean and standard deviation of the log returns in a sliding window.

Running sums of floats drift: after one outlier the error is 1e-5 and more, and a flat window then
has a standard deviation above 0. Here each return is an integer multiple of 2**-106, the last
binary digit that the log return of two doubles can have, and Python integers add and multiply
without rounding. So the sums never drift, results depend on the prices in the window alone (a
restart agrees to the last bit), and an update costs O(1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The least relative step between doubles is 2**-53, which is itself a double of 53 binary digits.
_BITS = 106
_ONE = 1 << _BITS
_ONE_SQUARED = 1 << (2 * _BITS)


def log_return(price: float, previous: float) -> float:
    """Return ln(price / previous), accurate to about the last bit even for the smallest moves."""
    # The difference of close prices is exact (Sterbenz), whereas their quotient, or the difference
    # of their logarithms, would round away the significant digits.
    move = (price - previous) / previous
    return math.log1p(move) if -0.5 < move < 1 else math.log(price) - math.log(previous)


class ReturnWindow:
    """The last `size` prices, with mean and standard deviation of the returns between them."""

    __slots__ = ("_count", "_filled", "_next", "_prices", "_returns", "_square", "_sum", "size")

    def __init__(self, size: int) -> None:
        """Create a window of `size` >= 2 prices, that is of at most `size` - 1 returns."""
        if size < 2:
            raise ValueError(f"a window needs at least 2 prices, not {size}")
        self.size = size
        self._prices: NDArray[np.float64] = np.zeros(size)
        self._returns = [0] * size
        self._next = 0
        self._filled = 0
        self._count = 0
        self._sum = 0
        self._square = 0

    def push(self, price: float) -> None:
        """Add a positive price; the oldest one leaves a full window."""
        index = self._next
        if self._filled:
            scaled = int(math.ldexp(log_return(price, self._prices[index - 1].item()), _BITS))
            if self._filled == self.size:
                # The oldest price leaves, and with it the return to the next one.
                leaving = self._returns[index + 1 - self.size]
                self._sum -= leaving
                self._square -= leaving * leaving
            else:
                self._count += 1
            self._returns[index] = scaled
            self._sum += scaled
            self._square += scaled * scaled
        self._prices[index] = price
        self._filled += self._filled < self.size
        self._next = index + 1 if index + 1 < self.size else 0

    @property
    def n(self) -> int:
        """Number of returns inside the window."""
        return self._count

    @property
    def mean(self) -> float:
        """Mean log return; 0.0 without returns."""
        return self._sum / (self._count * _ONE) if self._count else 0.0

    @property
    def std(self) -> float:
        """Sample standard deviation (ddof 1) of the log returns; 0.0 with fewer than two."""
        n = self._count
        if n < 2:
            return 0.0
        spread = n * self._square - self._sum * self._sum
        return math.sqrt(spread / (n * (n - 1) * _ONE_SQUARED))

    def prices(self) -> NDArray[np.float64]:
        """Return the prices inside the window, oldest first; shape (min(ticks, size),)."""
        if self._filled < self.size:
            return self._prices[: self._filled].copy()
        return np.roll(self._prices, -self._next)

    def restore(self, prices: Sequence[float]) -> None:
        """Fill an empty window from `prices`; results are equal to the last bit."""
        for price in prices:
            self.push(price)
