"""The newest snapshot of every symbol, with the time at which it was made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from volsvc.domain import PointForecast, Snapshot, UnknownSymbolError

# Called as `notify(kind, symbol, payload)` with each event of a symbol.
Notify = Callable[[Literal["forecast", "gap"], str, Any], None]


@dataclass(eq=False, slots=True)
class LatestEntry:
    """A forecast in the store; `processed_s` is wall-clock time in seconds since the epoch.

    `offset` is that of the tick behind the forecast in the log. `encoded` caches the JSON of the
    part that does not change; the first reader that needs it fills it in for all others.
    """

    forecast: Snapshot | PointForecast
    processed_s: float
    offset: int = -1
    encoded: bytes | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The forecast as it is answered, made for the first reader."""
        if isinstance(self.forecast, PointForecast):
            self.forecast = self.forecast.snapshot()
        return self.forecast

    def age_s(self, now_s: float) -> float:
        """Return the seconds since the tick behind the snapshot was processed."""
        # Not below 0: another instance, whose clock may be ahead of ours, may have processed it.
        return max(0.0, now_s - self.processed_s)


class LatestStore:
    """The newest snapshots: written by the consumer and the features follower, read by the web.

    Time goes forward: a symbol's snapshot is never replaced by one of an earlier tick, which an
    owner that was paused may still publish. `notify` is called with every event for streams.

    Most snapshots are never read. So the consumer may note that a symbol has a newer tick, and
    `refresh` makes the snapshots of noted symbols when somebody asks.
    """

    def __init__(
        self,
        notify: Notify = lambda kind, symbol, payload: None,
        watched: Callable[[], bool] = lambda: True,
    ) -> None:
        """`watched` tells whether anybody gets the events now."""
        self._entries: dict[str, LatestEntry] = {}
        # Wall-clock time and offset of the newest tick of symbols with an older snapshot.
        self._noted: dict[str, tuple[float, int]] = {}
        self._grown = asyncio.Event()
        self.notify = notify
        self.watched = watched
        self.refresh: Callable[[Sequence[str]], None] = lambda symbols: None

    def note(self, symbol: str, now_s: float, offset: int) -> None:
        """Note that a symbol has a newer tick than that of its snapshot, unless it is older."""
        if offset >= self.offset(symbol):
            self._noted[symbol] = (now_s, offset)
            self._grown.set()

    def put(self, forecast: Snapshot | PointForecast, now_s: float, offset: int = -1) -> None:
        """Replace the entry of the forecast's symbol, unless that is of a later tick."""
        symbol = forecast.row.symbol
        noted_s, noted = self._noted.get(symbol, (now_s, -1))
        if offset >= noted:
            self._noted.pop(symbol, None)
            # The tick was processed when it was noted, however late somebody asks.
            now_s = noted_s if offset == noted else now_s
        known = self._entries.get(symbol)
        if known is None or offset >= known.offset:
            entry = self._entries[symbol] = LatestEntry(forecast, now_s, offset)
            self._grown.set()
            self.notify("forecast", symbol, entry)

    def offset(self, symbol: str) -> int:
        """Return the offset of the newest tick known of a symbol; -1 without one."""
        entry = self._entries.get(symbol)
        of_entry = -1 if entry is None else entry.offset
        return max(of_entry, self._noted.get(symbol, (0.0, -1))[1])

    def get(self, symbol: str) -> LatestEntry:
        """Return a symbol's entry; raises UnknownSymbolError with the most similar names."""
        entry = self.find(symbol)
        if entry is None:
            raise UnknownSymbolError(symbol, dict.fromkeys((*self._entries, *self._noted)))
        return entry

    def find(self, symbol: str) -> LatestEntry | None:
        """Return a symbol's entry or None, without the search for similar names of `get`."""
        if symbol in self._noted:
            self._refresh([symbol])
        return self._entries.get(symbol)

    def settle(self) -> None:
        """Make the snapshots of all noted symbols, before their states leave the table."""
        if self._noted:
            self._refresh(list(self._noted))

    def _refresh(self, symbols: Sequence[str]) -> None:
        self.refresh(symbols)
        # One that gives no snapshot now, as it has left the table, keeps the one that it has.
        for symbol in symbols:
            self._noted.pop(symbol, None)

    def __iter__(self) -> Iterator[LatestEntry]:
        self.settle()
        return iter([self._entries[symbol] for symbol in sorted(self._entries)])

    def processed(self) -> list[tuple[str, float]]:
        """Return the wall-clock time at which the newest tick of each symbol was processed."""
        times = {symbol: entry.processed_s for symbol, entry in self._entries.items()}
        times |= {symbol: noted_s for symbol, (noted_s, _) in self._noted.items()}
        return sorted(times.items())

    def __len__(self) -> int:
        return len(self._entries.keys() | self._noted.keys())

    async def until_known(self, symbols: int) -> None:
        """Wait until there is an answer about so many symbols."""
        while len(self) < symbols:
            self._grown.clear()
            await self._grown.wait()

    def drop(self, symbol: str) -> None:
        """Remove a symbol's entry, if there is one."""
        self._entries.pop(symbol, None)
        self._noted.pop(symbol, None)
