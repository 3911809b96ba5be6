"""The window of the last prices and times, and the public features computed from it."""

from __future__ import annotations

from collections.abc import Sequence

from volsvc.domain import NS, FeatureRow
from volsvc.features.return_window import ReturnWindow


class FeatureWindow:
    """The last `size` prices of a symbol with their times."""

    __slots__ = ("_returns", "_times", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._returns = ReturnWindow(size)
        # A list, since removing the first of 50 is a memmove of 400 bytes.
        self._times: list[int] = []

    def push(self, time_ns: int, price: float) -> None:
        """Add a price; the oldest one leaves a full window."""
        self._returns.push(price)
        self._times.append(time_ns)
        if len(self._times) > self.size:
            del self._times[0]

    def row(self, symbol: str, time_ns: int, price: float) -> FeatureRow:
        """Return the features after the newest tick, whose time and price are given."""
        returns = self._returns
        return FeatureRow(
            symbol=symbol,
            time_ns=time_ns,
            price=price,
            ret_mean=returns.mean,
            ret_std=returns.std,
            n=returns.n,
            # Not negative: an accepted late tick is older than the start of a short window.
            span_s=max(0, time_ns - self._times[0]) / NS,
        )

    @property
    def fill_ratio(self) -> float:
        """Number of returns inside the window relative to that of a full one."""
        return self._returns.n / (self.size - 1)

    def prices(self) -> list[float]:
        """Return the prices, oldest first."""
        prices: list[float] = self._returns.prices().tolist()
        return prices

    def times(self) -> list[int]:
        """Return the times of the prices in nanoseconds, oldest first."""
        return list(self._times)

    def restore(self, prices: Sequence[float], times: Sequence[int]) -> None:
        """Fill an empty window; its features are equal to the last bit."""
        self._returns.restore(prices)
        self._times = list(times)
