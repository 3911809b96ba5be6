"""Mean and standard deviation of the log returns in a sliding window, exactly.

Running sums of floats drift: after one fat tick by 1e-5 and more, and a flat window then shows a
standard deviation above 0. Here each return is an integer multiple of 2**-106, the last binary
digit that the log return of two doubles can have, and Python's integers add and square without
rounding. So the sums are exact for ever, the result depends on the window's prices alone (not on
the path to them, which makes a restart agree to the bit), and one update costs O(1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The least relative step between doubles is 2**-53, and its double has 53 digits more.
_BITS = 106
_ONE = 1 << _BITS
_ONE_SQUARED = 1 << (2 * _BITS)


def log_return(price: float, previous: float) -> float:
    """ln(price / previous), to the last bit or nearly so even for the smallest moves.

    The difference of close prices is exact, where the quotient of them, or the difference of their
    logarithms, would round away the digits that matter.
    """
    move = (price - previous) / previous
    return math.log1p(move) if -0.5 < move < 1 else math.log(price) - math.log(previous)


class ReturnWindow:
    """The last `size` prices, and the moments of the log returns between them."""

    __slots__ = ("_count", "_filled", "_next", "_prices", "_returns", "_square", "_sum", "size")

    def __init__(self, size: int) -> None:
        """A window of `size` >= 2 prices, so of at most `size` - 1 returns."""
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
        at = self._next
        if self._filled:
            scaled = int(math.ldexp(log_return(price, self._prices[at - 1].item()), _BITS))
            if self._filled == self.size:
                # The oldest price goes, and with it the return to the one after it.
                leaving = self._returns[at + 1 - self.size]
                self._sum -= leaving
                self._square -= leaving * leaving
            else:
                self._count += 1
            self._returns[at] = scaled
            self._sum += scaled
            self._square += scaled * scaled
        self._prices[at] = price
        self._filled += self._filled < self.size
        self._next = at + 1 if at + 1 < self.size else 0

    @property
    def n(self) -> int:
        """How many returns are inside the window."""
        return self._count

    @property
    def mean(self) -> float:
        """Mean log return; 0.0 while there is none."""
        return self._sum / (self._count * _ONE) if self._count else 0.0

    @property
    def std(self) -> float:
        """Sample standard deviation (ddof 1) of the log returns; 0.0 while there are under two."""
        n = self._count
        if n < 2:
            return 0.0
        spread = n * self._square - self._sum * self._sum
        return math.sqrt(spread / (n * (n - 1) * _ONE_SQUARED))

    def prices(self) -> NDArray[np.float64]:
        """The prices inside the window, oldest first; shape (min(ticks, size),)."""
        if self._filled < self.size:
            return self._prices[: self._filled].copy()
        return np.roll(self._prices, -self._next)

    def restore(self, prices: Sequence[float]) -> None:
        """Refill an empty window from what `prices` gave, with the same moments to the bit."""
        for price in prices:
            self.push(price)
