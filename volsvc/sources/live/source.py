"""The live source: connections, trade sequencers and back-fill joined into one stream of ticks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp

from volsvc.config.live import LiveSourceSettings
from volsvc.config.warmup import WarmupSettings
from volsvc.domain import SourceRow, Tick
from volsvc.sources.base import FeedEvents, Known, Skip, nothing_known
from volsvc.sources.live.backfill import Backfill
from volsvc.sources.live.candles import CandleFetcher
from volsvc.sources.live.connection import Connection
from volsvc.sources.live.message_reader import ConnectionOptions
from volsvc.sources.live.rest import RestClient
from volsvc.sources.live.trade_sequencer import TradeSequencer
from volsvc.sources.live.venue import MarketData, Venue

# Batches that may wait for the bus. Beyond them the venue is not read, and trades that are missed
# meanwhile are fetched later.
MAX_QUEUED_BATCHES = 1_000


class LiveSource:
    """The ticks of a venue as they happen, each trade once and in order.

    Positions keep rising when `batches` is called again, and the last batch is yielded again, so
    that nothing is lost when the publisher has to restart.
    """

    def __init__(
        self,
        venue: Venue,
        symbols: Sequence[str],
        settings: LiveSourceSettings,
        events: FeedEvents,
        known: Known = nothing_known,
        warmup: WarmupSettings | None = None,
    ) -> None:
        """Trades since those that are `known` when the source begins are fetched over REST.

        With a `warmup`, and its source not none, each symbol begins with its candles.

        Raises SourceError for a name that cannot be a symbol of the venue.
        """
        self._venue = venue
        self._symbols = tuple(dict.fromkeys(map(venue.symbol, symbols)))
        self._settings = settings
        self._events = events
        self._sequencers = {symbol: TradeSequencer(symbol) for symbol in self._symbols}
        # Unbounded, because a back-fill must never wait here: `_handle_data` keeps the bound, by
        # making the connections wait.
        self._queue: asyncio.Queue[list[SourceRow]] = asyncio.Queue()
        self._has_room = asyncio.Event()
        self._position = 0
        self._last_batch: list[SourceRow] = []
        self._known = known
        self._warmup = warmup if warmup is not None and warmup.source != "none" else None
        # Symbols that have begun, and the ticks of those whose candles are on their way.
        self._begun: set[str] = set()
        self._held: dict[str, list[SourceRow]] = {}
        self._to_warm: asyncio.Queue[str] = asyncio.Queue()
        self.feed = venue.name
        # A venue may be away, or have no trade for long.
        self.prompt = 0
        # With its start in the name each run is a stream of its own: a live stream cannot resume.
        self.identity = f"{venue.name}@{time.time_ns()}"

    async def batches(self, skip: Skip) -> AsyncIterator[Sequence[SourceRow]]:
        """Yield ticks as they arrive, without end."""
        for symbol, sequencer in self._sequencers.items():
            sequencer.resume(self._known(symbol))
        again = [row for row in self._last_batch if not skip(row)]
        if again:
            yield again
        async with aiohttp.ClientSession() as session:
            base = self._settings.rest_url or self._venue.rest_url
            rest = RestClient(session, base, self._settings.rest_per_s, self._events.rest)
            backfill = Backfill(self._venue, self._settings, rest, self._events)
            warming = asyncio.create_task(self._warm(rest))
            tasks = self._connect(session, backfill)
            try:
                while True:
                    watched = [*tasks, backfill.failure, warming]
                    self._last_batch = await self._next_batch(watched)
                    yield self._last_batch
            finally:
                await _cancel([*tasks, *backfill.tasks.values(), backfill.failure, warming])

    async def _warm(self, rest: RestClient) -> None:
        """Fetch the candles of symbols that begin, for ever."""
        settings = self._warmup or WarmupSettings()
        parts = self._venue, rest, settings, self._events, self._known
        fetcher = CandleFetcher(*parts, len(self._symbols))
        # With those that waited when the publisher had to restart.
        self._to_warm = asyncio.Queue()
        for symbol in self._held:
            self._to_warm.put_nowait(symbol)
        async with asyncio.TaskGroup() as group:
            while True:
                symbol = await self._to_warm.get()
                group.create_task(self._begin(symbol, fetcher))

    async def _begin(self, symbol: str, fetcher: CandleFetcher) -> None:
        """Release the ticks of a symbol, with the bars before them, once these have come."""
        past = await fetcher.past_of(symbol, self._held[symbol][0].tick.time_ns)
        first, *others = self._held.pop(symbol)
        self._enqueue([first._replace(past=past), *others])

    def _connect(
        self, session: aiohttp.ClientSession, backfill: Backfill
    ) -> list[asyncio.Task[None]]:
        """Start a task for each connection, each with its share of the symbols."""

        async def handler(data: MarketData, received_ns: int) -> None:
            await self._handle_data(data, received_ns, backfill)

        most = self._settings.symbols_per_connection
        shares = [self._symbols[i : i + most] for i in range(0, len(self._symbols), most)]
        tasks = []
        for number, share in enumerate(shares):
            options = ConnectionOptions(number, self._venue, share, self._settings)
            connection = Connection(session, options, self._events, handler)
            tasks.append(asyncio.create_task(connection.run(), name=f"feed {number}"))
        return tasks

    async def _handle_data(self, data: MarketData, received_ns: int, backfill: Backfill) -> None:
        """Queue the trades that are in order, start back-fills, and wait while the bus is slow."""
        by_symbol: dict[str, list[Tick]] = {}
        for tick in data.ticks:
            by_symbol.setdefault(tick.symbol, []).append(tick)
        for symbol, ticks in by_symbol.items():
            sequencer = self._sequencers[symbol]
            known = sequencer.duplicates
            self._forward(sequencer.add(ticks), received_ns)
            for _ in range(sequencer.duplicates - known):
                self._events.message("known_trade")
            if sequencer.gap is not None:
                backfill.start(symbol, sequencer, lambda late: self._forward(late, time.time_ns()))
        if self._queue.qsize() >= MAX_QUEUED_BATCHES:
            self._has_room.clear()
            await self._has_room.wait()

    def _forward(self, ticks: list[Tick], received_ns: int) -> None:
        if not ticks:
            return
        # All of one symbol.
        symbol = ticks[0].symbol
        rows = [SourceRow(-1, tick, received_ns) for tick in ticks]
        if self._warmup is not None and symbol not in self._begun:
            self._begun.add(symbol)
            self._held[symbol] = []
            self._to_warm.put_nowait(symbol)
        if symbol in self._held:
            self._held[symbol] += rows
        else:
            self._enqueue(rows)

    def _enqueue(self, rows: Sequence[SourceRow]) -> None:
        start = self._position
        self._position += len(rows)
        self._queue.put_nowait([row._replace(position=start + i) for i, row in enumerate(rows)])

    async def _next_batch(self, tasks: Sequence[asyncio.Future[None]]) -> list[SourceRow]:
        """Wait for rows and return all that are queued; raises the exception of a failed task."""
        getter = asyncio.ensure_future(self._queue.get())
        try:
            watched: set[asyncio.Future[Any]] = {getter, *tasks}
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            rows = await getter
        finally:
            getter.cancel()
        while not self._queue.empty():
            rows += self._queue.get_nowait()
        self._has_room.set()
        return rows


async def _cancel(tasks: Sequence[asyncio.Future[None]]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
