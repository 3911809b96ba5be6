"""Who listens to the simulated market."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from volsvc.simulator.session import Session


class Subscribers:
    """The sessions that hear the market, and the symbols that anybody ever asked for."""

    def __init__(self) -> None:
        self._sessions: set[Session] = set()
        self._asked: set[str] = set()
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions))

    def join(self, session: Session) -> None:
        """A client has subscribed to something."""
        self._sessions.add(session)
        for symbols in session.channels.values():
            self._asked |= symbols
        self._changed.set()

    def leave(self, session: Session) -> None:
        """A client hears no more."""
        self._sessions.discard(session)

    def empty(self) -> list[Session]:
        """Nobody hears the market any more; returns who did."""
        gone, self._sessions = list(self._sessions), set()
        return gone

    async def gathered(self, symbols: Iterable[str]) -> None:
        """Wait until somebody listens and every one of these symbols has been asked for."""
        while not (self._sessions and self._asked.issuperset(symbols)):
            await self._change()

    async def listening(self, symbol: str) -> bool:
        """Wait until a symbol is listened to; true when it took a wait.

        A symbol that nobody ever asked for passes as long as there is anybody.
        """
        waited = False
        while not self._hears(symbol):
            waited = True
            await self._change()
        return waited

    def _hears(self, symbol: str) -> bool:
        if symbol not in self._asked:
            return bool(self._sessions)
        return any(session.wants(symbol) for session in self._sessions)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
