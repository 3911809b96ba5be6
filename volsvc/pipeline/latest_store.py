"""The newest snapshot of every symbol, with the time at which it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from volsvc.domain import Snapshot, UnknownSymbolError


@dataclass(eq=False, slots=True)
class LatestEntry:
    """A snapshot on the board; `processed_s` is wall-clock time in seconds since the epoch.

    `offset` is that of the tick behind it in the log. `written` keeps what of it does not change as
    it goes over the wire, made once for all readers by the first that needs it.
    """

    snapshot: Snapshot
    processed_s: float
    offset: int = -1
    written: bytes | None = None

    def age_s(self, now_s: float) -> float:
        """Seconds since the tick behind the snapshot was processed."""
        return max(0.0, now_s - self.processed_s)


# `tell(kind, symbol, payload)`: news of a symbol.
Tell = Callable[[Literal["forecast", "gap"], str, Any], None]


class LatestStore:
    """What the consumer and the replica write and the web reads; `tell` hears what streams should.

    Time goes forward: whatever comes late, of an owner that was paused for example, a symbol's
    snapshot is never replaced by one of an earlier tick.
    """

    def __init__(self, tell: Tell = lambda kind, symbol, payload: None) -> None:
        self._posted: dict[str, LatestEntry] = {}
        self.tell = tell

    def post(self, snapshot: Snapshot, now_s: float, offset: int = -1) -> None:
        """Replace what is known of the snapshot's symbol, unless that is newer."""
        symbol = snapshot.row.symbol
        if offset >= self.offset(symbol):
            posted = self._posted[symbol] = LatestEntry(snapshot, now_s, offset)
            self.tell("forecast", symbol, posted)

    def offset(self, symbol: str) -> int:
        """The offset of the tick behind what is known of a symbol; -1 for an unknown one."""
        posted = self._posted.get(symbol)
        return -1 if posted is None else posted.offset

    def get(self, symbol: str) -> LatestEntry:
        """The newest of a symbol; raises UnknownSymbolError with the nearest names."""
        posted = self.find(symbol)
        if posted is None:
            raise UnknownSymbolError(symbol, self._posted)
        return posted

    def find(self, symbol: str) -> LatestEntry | None:
        """The newest of a symbol, if it is known; at once, where `get` looks for similar names."""
        return self._posted.get(symbol)

    def __iter__(self) -> Iterator[LatestEntry]:
        return iter([self._posted[symbol] for symbol in sorted(self._posted)])

    def __len__(self) -> int:
        return len(self._posted)

    def drop(self, symbol: str) -> None:
        """Forget a symbol."""
        self._posted.pop(symbol, None)
