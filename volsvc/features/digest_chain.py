"""SHA-256 hash chain over the published forecasts and the minutes of a symbol.

Each link includes the head before it, so equal heads mean equal histories. Two runs over the same
ticks have the same heads, whatever failures and restarts happened in between. The first minute
whose heads differ is where two runs diverge.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from struct import pack
from typing import Any, Final, NamedTuple

from volsvc.domain import NS, Snapshot, format_time
from volsvc.features.minutes import MinuteBar

WINDOW_NS: Final = 60 * NS


class ClosedWindow(NamedTuple):
    """A completed minute, counted from the epoch, and the head of the chain at its end."""

    minute: int
    head: str

    def fields(self) -> dict[str, str]:
        """Return the window as JSON fields, with the time of its start."""
        return {"window": format_time(self.minute * WINDOW_NS), "head": self.head}


class DigestChain:
    """The chain of one symbol; links are added in the order of events."""

    __slots__ = ("_head", "closed")

    def __init__(self) -> None:
        self._head = bytes(32)
        self.closed: ClosedWindow | None = None

    def add_forecast(self, snapshot: Snapshot) -> None:
        """Add a published forecast with its features and the number of ticks behind it."""
        row = snapshot.row
        integers = pack("<qqq", row.time_ns, row.n, snapshot.quality.ticks)
        numbers = [row.price, row.ret_mean, row.ret_std, row.span_s, snapshot.score]
        for p in snapshot.predictions:
            numbers += (p.horizon_s, p.sigma, p.lo, p.hi, p.threshold, p.score)
        model = f"{snapshot.variant}-{snapshot.version}".encode()
        self._link(integers + pack(f"<{len(numbers)}d", *numbers) + model)

    def close(self, bar: MinuteBar) -> ClosedWindow:
        """Add a completed minute, after the forecasts inside it, and return its window."""
        self._link(pack(f"<{len(bar)}d", *bar))
        self.closed = ClosedWindow(bar.minute, self._head.hex())
        return self.closed

    def _link(self, content: bytes) -> None:
        self._head = sha256(self._head + content).digest()

    def dump(self) -> Mapping[str, Any]:
        """Return the whole state in a form that JSON holds without loss."""
        return {"head": self._head.hex(), "closed": self.closed}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `dump`."""
        self._head = bytes.fromhex(state["head"])
        self.closed = ClosedWindow(*state["closed"]) if state["closed"] else None
