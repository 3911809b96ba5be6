"""The clients that have subscribed to the simulated exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from volsvc.simulator.session import Session


class Subscribers:
    """The sessions that receive data, and all symbols that were ever subscribed to."""

    def __init__(self) -> None:
        self._sessions: set[Session] = set()
        self._known_symbols: set[str] = set()
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Session]:
        # A copy, because sessions come and go while a message is sent to each.
        return iter(list(self._sessions))

    def add(self, session: Session) -> None:
        """Add a session that has subscribed."""
        self._sessions.add(session)
        for symbols in session.channels.values():
            self._known_symbols |= symbols
        self._changed.set()

    def discard(self, session: Session) -> None:
        """Remove a session, if it is present."""
        self._sessions.discard(session)

    def clear(self) -> list[Session]:
        """Remove all sessions and return them."""
        removed, self._sessions = list(self._sessions), set()
        return removed

    async def wait_for_symbols(self, symbols: Iterable[str]) -> None:
        """Wait for a session, and until each of these symbols has been subscribed to."""
        while not (self._sessions and self._known_symbols.issuperset(symbols)):
            await self._change()

    async def wait_for_subscriber(self, symbol: str) -> bool:
        """Wait until a session is subscribed to a symbol; returns whether it had to wait.

        For a symbol that was never subscribed to, any session will do.
        """
        waited = False
        while not self._has_subscriber(symbol):
            waited = True
            await self._change()
        return waited

    def _has_subscriber(self, symbol: str) -> bool:
        if symbol not in self._known_symbols:
            return bool(self._sessions)
        return any(session.channels_of(symbol) for session in self._sessions)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
