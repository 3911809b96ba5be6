"""A venue's live ticks as a source: connections, seams and back-fill joined into one stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp

from volsvc.config.live import LiveSourceSettings
from volsvc.domain import SourceError, SourceRow, Tick, is_symbol
from volsvc.sources.base import FeedEvents, Skip
from volsvc.sources.live.backfill import Backfill
from volsvc.sources.live.connection import Connection, Endpoint
from volsvc.sources.live.rest import RestClient
from volsvc.sources.live.trade_sequencer import TradeSequencer
from volsvc.sources.live.venue import Data, Venue

# Messages that wait for the bus; beyond this the venue is not read, and missed trades are fetched
# later.
WAITING_BATCHES = 1_000


class LiveSource:
    """The ticks of a venue as they happen, each trade once and in its place.

    Positions go on rising when `batches` is called again, and what was handed out last is handed
    out again, so that nothing is lost when the publisher has to begin anew.
    """

    def __init__(
        self, venue: Venue, symbols: Sequence[str], settings: LiveSourceSettings, events: FeedEvents
    ) -> None:
        """Raises SourceError for a name that cannot be a symbol."""
        for symbol in symbols:
            if not is_symbol(symbol):
                raise SourceError(f"{symbol!r} cannot be the name of a symbol")
        self._venue = venue
        self._symbols = tuple(dict.fromkeys(symbols))
        self._settings = settings
        self._events = events
        self._seams = {symbol: TradeSequencer(symbol) for symbol in self._symbols}
        self._waiting: asyncio.Queue[list[SourceRow]] = asyncio.Queue()
        self._room = asyncio.Event()
        self._position = 0
        self._handed_out: list[SourceRow] = []
        # The start is part of the name: a live stream is never resumed.
        self.identity = f"{venue.name}@{time.time_ns()}"

    async def batches(self, skip: Skip) -> AsyncIterator[Sequence[SourceRow]]:
        """Ticks as they come, without end."""
        again = [row for row in self._handed_out if not skip(row)]
        if again:
            yield again
        async with aiohttp.ClientSession() as session:
            backfill = self._new_backfill(session)
            tasks = self._connect(session, backfill)
            try:
                while True:
                    self._handed_out = await self._next([*tasks, backfill.failure])
                    yield self._handed_out
            finally:
                await _end([*tasks, *backfill.tasks.values(), backfill.failure])

    def _new_backfill(self, session: aiohttp.ClientSession) -> Backfill:
        base = self._settings.rest_url or self._venue.rest_url
        rest = RestClient(session, base, self._settings.rest_per_s, self._events.rest)
        return Backfill(self._venue, self._settings, rest, self._events)

    def _connect(
        self, session: aiohttp.ClientSession, backfill: Backfill
    ) -> list[asyncio.Task[None]]:
        """A task a connection, each with its share of the symbols."""

        async def take(data: Data, received_ns: int) -> None:
            await self._take(data, received_ns, backfill)

        most = self._settings.symbols_per_connection
        shares = [self._symbols[i : i + most] for i in range(0, len(self._symbols), most)]
        tasks = []
        for number, share in enumerate(shares):
            endpoint = Endpoint(number, self._venue, share, self._settings)
            connection = Connection(session, endpoint, self._events, take)
            tasks.append(asyncio.create_task(connection.run(), name=f"feed {number}"))
        return tasks

    async def _take(self, data: Data, received_ns: int, backfill: Backfill) -> None:
        """Let what is in order through, see to what misses, and wait while the bus is behind."""
        by_symbol: dict[str, list[Tick]] = {}
        for tick in data.ticks:
            by_symbol.setdefault(tick.symbol, []).append(tick)
        for symbol, ticks in by_symbol.items():
            sequencer = self._seams.get(symbol)
            if sequencer is None:
                self._events.message("unasked")
                continue
            known = sequencer.duplicates
            self._forward(sequencer.offer(ticks), received_ns)
            for _ in range(sequencer.duplicates - known):
                self._events.message("known_trade")
            if sequencer.gap is not None:
                backfill.start(symbol, sequencer, lambda late: self._forward(late, time.time_ns()))
        if self._waiting.qsize() >= WAITING_BATCHES:
            self._room.clear()
            await self._room.wait()

    def _forward(self, ticks: list[Tick], received_ns: int) -> None:
        if ticks:
            start = self._position
            self._position += len(ticks)
            rows = [SourceRow(start + i, tick, received_ns) for i, tick in enumerate(ticks)]
            self._waiting.put_nowait(rows)

    async def _next(self, tasks: Sequence[asyncio.Future[None]]) -> list[SourceRow]:
        """What waits, once something does; raises what a task failed with."""
        getter = asyncio.ensure_future(self._waiting.get())
        try:
            watched: set[asyncio.Future[Any]] = {getter, *tasks}
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            rows = await getter
        finally:
            getter.cancel()
        while not self._waiting.empty():
            rows += self._waiting.get_nowait()
        self._room.set()
        return rows


async def _end(tasks: Sequence[asyncio.Future[None]]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
