"""The newest snapshot of every symbol, with the time at which it was made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from volsvc.domain import Snapshot, UnknownSymbolError


@dataclass(frozen=True, slots=True)
class Posted:
    """A snapshot on the board; `processed_s` is wall-clock time in seconds since the epoch."""

    snapshot: Snapshot
    processed_s: float

    def age_s(self, now_s: float) -> float:
        """Seconds since the tick behind the snapshot was processed."""
        return max(0.0, now_s - self.processed_s)


class Board:
    """What the consumer writes and the web reads."""

    def __init__(self) -> None:
        self._posted: dict[str, Posted] = {}

    def post(self, snapshot: Snapshot, now_s: float) -> None:
        """Replace what is known of the snapshot's symbol."""
        self._posted[snapshot.row.symbol] = Posted(snapshot, now_s)

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
