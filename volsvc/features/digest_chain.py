"""A fingerprint of all that was said of a symbol: a SHA-256 chain over its forecasts and minutes.

Each link hashes the head before it, so equal heads mean equal histories. Two runs over the same
ticks have the same heads to the last bit, whatever broke in between; the first minute whose heads
differ is where they part.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from struct import pack
from typing import Any, Final, NamedTuple

from volsvc.domain import NS, Snapshot, format_time
from volsvc.features.multiscale import MinuteBar

WINDOW_NS: Final = 60 * NS


class ClosedWindow(NamedTuple):
    """A minute that is over, by its number since the epoch, and the chain's head at its end."""

    minute: int
    head: str

    def fields(self) -> dict[str, str]:
        """The window as JSON fields, by the time of its start."""
        return {"window": format_time(self.minute * WINDOW_NS), "head": self.head}


class DigestChain:
    """The chain of one symbol; links are added in the order in which things were said."""

    __slots__ = ("_head", "closed")

    def __init__(self) -> None:
        self._head = bytes(32)
        self.closed: ClosedWindow | None = None

    def say(self, said: Snapshot) -> None:
        """Chain a published forecast with the features and the number of ticks behind it."""
        row = said.row
        whole = pack("<qqq", row.time_ns, row.n, said.quality.ticks)
        numbers = [row.price, row.ret_mean, row.ret_std, row.span_s, said.score]
        for p in said.predictions:
            numbers += (p.horizon_s, p.sigma, p.lo, p.hi, p.threshold, p.score)
        model = f"{said.variant}-{said.version}".encode()
        self._link(whole + pack(f"<{len(numbers)}d", *numbers) + model)

    def close(self, bar: MinuteBar) -> ClosedWindow:
        """Chain a minute that is over, after the forecasts inside it."""
        self._link(pack(f"<{len(bar)}d", *bar))
        self.closed = ClosedWindow(bar.minute, self._head.hex())
        return self.closed

    def _link(self, content: bytes) -> None:
        self._head = sha256(self._head + content).digest()

    def dump(self) -> Mapping[str, Any]:
        """The whole state, as JSON can carry it without loss."""
        return {"head": self._head.hex(), "closed": self.closed}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        self._head = bytes.fromhex(state["head"])
        self.closed = ClosedWindow(*state["closed"]) if state["closed"] else None
