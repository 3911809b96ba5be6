"""SHA-256 hash chain over the published forecasts and the minutes of a symbol.

Each link includes the head before it, so equal heads mean equal histories. Two runs over the same
ticks have the same heads, whatever failures and restarts happened in between. The first minute
whose heads differ is where two runs diverge. Links are added in the order of events.
"""

from __future__ import annotations

from hashlib import sha256
from struct import pack
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import NS, PointForecast, format_time

WINDOW_NS: Final = 60 * NS


class ClosedWindow(NamedTuple):
    """A completed minute, counted from the epoch, and the head of the chain at its end."""

    minute: int
    head: str

    def fields(self) -> dict[str, str]:
        """Return the window as JSON fields, with the time of its start."""
        return {"window": format_time(self.minute * WINDOW_NS), "head": self.head}


class DigestChain:
    """The chain of one symbol, kept in its record."""

    __slots__ = ("_digests", "_heads", "_row")

    def __init__(self, digests: NDArray[Any], row: int) -> None:
        """Keep the chain in a row of an array of DIGEST."""
        self._digests = digests
        self._heads = digests["head"]
        self._row = row

    def add_forecast(self, forecast: PointForecast) -> None:
        """Add a published forecast with its features and the number of ticks behind it."""
        _, time_ns, price, mean, std, n, span_s = forecast.row
        flat = [number for numbers in forecast.numbers for number in numbers]
        numbers = (price, mean, std, span_s, forecast.score, *forecast.horizons_s, *flat)
        counts = (time_ns, n, forecast.quality.ticks)
        model = f"{forecast.variant}-{forecast.version}".encode()
        self._link(pack(f"<3q{len(numbers)}d", *counts, *numbers) + model)

    def close(self, minute: int, bar: bytes) -> ClosedWindow:
        """Add a completed minute after the forecasts inside it, and return its window.

        `bar` are the bytes of its BAR.
        """
        head = self._link(bar)
        self._digests["closed_minute"][self._row] = minute
        self._digests["closed_head"][self._row] = np.frombuffer(head, np.uint8)
        return ClosedWindow(minute, head.hex())

    @property
    def closed(self) -> ClosedWindow | None:
        """The newest completed minute; None before the first."""
        minute = int(self._digests["closed_minute"][self._row])
        if minute < 0:
            return None
        return ClosedWindow(minute, self._digests["closed_head"][self._row].tobytes().hex())

    def _link(self, content: bytes) -> bytes:
        heads, row = self._heads, self._row
        head = sha256(heads[row].tobytes() + content).digest()
        heads[row] = np.frombuffer(head, np.uint8)
        return head
