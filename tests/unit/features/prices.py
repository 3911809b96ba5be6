"""The window of a symbol's last prices for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.unit.features.records import started
from volsvc.features.kernels import points, price_window
from volsvc.features.kernels.record import TICKS


class PriceWindow:
    """The last `size` prices, in a ring that has room for `more`."""

    def __init__(self, size: int, more: int = 3) -> None:
        self._size = size
        self._prices, self._times = np.zeros(size + more), np.zeros(size + more, np.int64)
        # Of which only the window is written.
        self._ticks = started(TICKS, lambda ticks: price_window.start(ticks.window))

    def push(self, price: float, time_ns: int = 0) -> None:
        """Add a price."""
        window = self._ticks.window
        price_window.push(window, self._prices, self._times, self._size, time_ns, price)

    def restored(self) -> PriceWindow:
        """Return another window, filled from the stored state of this one."""
        other = PriceWindow(self._size, 0)
        other._ticks.window = self._ticks.window
        prices, times = self.contents()
        price_window.restore(
            other._ticks.window,
            other._prices,
            other._times,
            self._size,
            prices,
            times,
            np.zeros(1, price_window.WINDOW)[0],
        )
        return other

    @property
    def row(self) -> Any:
        """The features after the newest price (ROW)."""
        row = np.zeros(1, price_window.ROW)[0]
        price_window.read_row(self._ticks.window, self._prices, self._times, self._size, row)
        return row

    @property
    def numbers(self) -> tuple[float, float, int]:
        """Mean, deviation and number of the returns."""
        row = self.row
        return float(row.ret_mean), float(row.ret_std), int(row.n)

    def contents(self) -> tuple[Any, Any]:
        """Return the prices inside the window and their times, oldest first."""
        window = self._ticks.window
        kept = np.arange(window.at - min(window.count, self._size), window.at) + 1
        return self._prices[kept], self._times[kept]

    @property
    def sums(self) -> bytes:
        """The sums of returns and of their squares."""
        return bytes(self._ticks.window.sums.tobytes())

    @property
    def fill_ratio(self) -> float:
        """The share of the window that is filled."""
        quality = np.zeros(1, points.QUALITY)[0]
        points.write_quality(self._ticks, self._size, int(self.row.time_ns), quality)
        return float(quality.fill_ratio)
