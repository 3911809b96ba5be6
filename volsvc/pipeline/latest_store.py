"""The newest snapshot of every symbol, with the time at which it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from volsvc.domain import Snapshot, UnknownSymbolError

# Called as `notify(kind, symbol, payload)` with each event of a symbol.
Notify = Callable[[Literal["forecast", "gap"], str, Any], None]


@dataclass(eq=False, slots=True)
class LatestEntry:
    """A snapshot in the store; `processed_s` is wall-clock time in seconds since the epoch.

    `offset` is that of the tick behind the snapshot in the log. `encoded` caches the JSON of the
    part that does not change; the first reader that needs it fills it in for all others.
    """

    snapshot: Snapshot
    processed_s: float
    offset: int = -1
    encoded: bytes | None = None

    def age_s(self, now_s: float) -> float:
        """Return the seconds since the tick behind the snapshot was processed."""
        # Not below 0: another instance, whose clock may be ahead of ours, may have processed it.
        return max(0.0, now_s - self.processed_s)


class LatestStore:
    """The newest snapshots: written by the consumer and the features follower, read by the web.

    Time goes forward: a symbol's snapshot is never replaced by one of an earlier tick, which an
    owner that was paused may still publish. `notify` is called with every event for streams.
    """

    def __init__(self, notify: Notify = lambda kind, symbol, payload: None) -> None:
        self._entries: dict[str, LatestEntry] = {}
        self.notify = notify

    def put(self, snapshot: Snapshot, now_s: float, offset: int = -1) -> None:
        """Replace the entry of the snapshot's symbol, unless that is of a later tick."""
        symbol = snapshot.row.symbol
        if offset >= self.offset(symbol):
            entry = self._entries[symbol] = LatestEntry(snapshot, now_s, offset)
            self.notify("forecast", symbol, entry)

    def offset(self, symbol: str) -> int:
        """Return the offset of the tick behind a symbol's entry; -1 without an entry."""
        entry = self._entries.get(symbol)
        return -1 if entry is None else entry.offset

    def get(self, symbol: str) -> LatestEntry:
        """Return a symbol's entry; raises UnknownSymbolError with the most similar names."""
        entry = self.find(symbol)
        if entry is None:
            raise UnknownSymbolError(symbol, self._entries)
        return entry

    def find(self, symbol: str) -> LatestEntry | None:
        """Return a symbol's entry or None, without the search for similar names of `get`."""
        return self._entries.get(symbol)

    def __iter__(self) -> Iterator[LatestEntry]:
        return iter([self._entries[symbol] for symbol in sorted(self._entries)])

    def __len__(self) -> int:
        return len(self._entries)

    def drop(self, symbol: str) -> None:
        """Remove a symbol's entry, if there is one."""
        self._entries.pop(symbol, None)
