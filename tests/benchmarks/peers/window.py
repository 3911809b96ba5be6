"""The work of the peers: mean and deviation of the last 50 log returns of each symbol."""

from __future__ import annotations

import json
import math
from collections import deque
from typing import Any

SIZE = 50


class Window:
    """Running sums over the last returns, in the plain form."""

    def __init__(self) -> None:
        self._returns: deque[float] = deque()
        self._last = 0.0
        self._sum = self._square = 0.0

    def push(self, price: float) -> tuple[float, float, int]:
        """Return mean, sample standard deviation, and count."""
        if self._last:
            move = math.log(price / self._last)
            self._returns.append(move)
            self._sum += move
            self._square += move * move
            if len(self._returns) >= SIZE:
                gone = self._returns.popleft()
                self._sum -= gone
                self._square -= gone * gone
        self._last = price
        n = len(self._returns)
        if n < 2:
            return self._sum, 0.0, n
        spread = max(0.0, self._square - self._sum * self._sum / n)
        return self._sum / n, math.sqrt(spread / (n - 1)), n


class Windows:
    """The windows of all symbols."""

    def __init__(self) -> None:
        self._windows: dict[str, Window] = {}

    def row(self, tick: dict[str, Any]) -> dict[str, Any]:
        """Return the features after a tick."""
        symbol = tick["symbol"]
        window = self._windows.get(symbol)
        if window is None:
            window = self._windows[symbol] = Window()
        mean, std, n = window.push((tick["best_bid"] + tick["best_ask"]) / 2)
        return {"symbol": symbol, "time": tick["time"], "ret_mean": mean, "ret_std": std, "n": n}

    def encoded(self, value: bytes) -> bytes:
        """Return the encoded features after an encoded tick."""
        return json.dumps(self.row(json.loads(value))).encode()
