"""The newest snapshot of every symbol, with the time at which it was made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from volsvc.domain import Snapshot, UnknownSymbolError


@dataclass(frozen=True, slots=True)
class Posted:
    """A snapshot on the board; `processed_s` is wall-clock time in seconds since the epoch.

    `offset` is that of the tick behind it in the log.
    """

    snapshot: Snapshot
    processed_s: float
    offset: int = -1

    def age_s(self, now_s: float) -> float:
        """Seconds since the tick behind the snapshot was processed."""
        return max(0.0, now_s - self.processed_s)


class Board:
    """What the consumer and the replica write and the web reads.

    Time goes forward: whatever comes late, of an owner that was paused for example, a symbol's
    snapshot is never replaced by one of an earlier tick.
    """

    def __init__(self) -> None:
        self._posted: dict[str, Posted] = {}

    def post(self, snapshot: Snapshot, now_s: float, offset: int = -1) -> None:
        """Replace what is known of the snapshot's symbol, unless that is newer."""
        symbol = snapshot.row.symbol
        if offset >= self.offset(symbol):
            self._posted[symbol] = Posted(snapshot, now_s, offset)

    def offset(self, symbol: str) -> int:
        """The offset of the tick behind what is known of a symbol; -1 for an unknown one."""
        posted = self._posted.get(symbol)
        return -1 if posted is None else posted.offset

    def get(self, symbol: str) -> Posted:
        """The newest of a symbol; raises UnknownSymbolError with the nearest names."""
        posted = self._posted.get(symbol)
        if posted is None:
            raise UnknownSymbolError(symbol, self._posted)
        return posted

    def __iter__(self) -> Iterator[Posted]:
        return iter([self._posted[symbol] for symbol in sorted(self._posted)])

    def __len__(self) -> int:
        return len(self._posted)

    def drop(self, symbol: str) -> None:
        """Forget a symbol."""
        self._posted.pop(symbol, None)
