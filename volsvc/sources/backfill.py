"""Filling holes in trades over REST, and passing on without what cannot be had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from volsvc.domain import FeedError, InvalidTickError, Tick
from volsvc.live_settings import LiveKeys
from volsvc.logs import get_logger
from volsvc.sources.base import FeedEvents
from volsvc.sources.rest import RestClient
from volsvc.sources.seam import Seam
from volsvc.sources.venue import Hole, Venue

GRACE_S = 0.1
"""A message that was merely overtaken may still come by itself."""
AGAIN_S = 0.25
"""A venue's REST API may be a moment behind its socket."""

log = get_logger(__name__)

Forward = Callable[[list[Tick]], None]


class Backfill:
    """Closes the holes of seams, one task for each symbol that has one.

    `failure` is for the owner to watch: it raises what a task failed with.
    """

    def __init__(
        self, venue: Venue, settings: LiveKeys, rest: RestClient, events: FeedEvents
    ) -> None:
        self._venue = venue
        self._settings = settings
        self._rest = rest
        self._events = events
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.failure: asyncio.Future[None] = loop.create_future()

    def start(self, symbol: str, seam: Seam, forward: Forward) -> None:
        """See to a seam's hole, unless that is under way."""
        if symbol not in self.tasks:
            task = asyncio.create_task(self._close_all(symbol, seam, forward))
            self.tasks[symbol] = task
            task.add_done_callback(lambda done: self._ended(symbol, done))

    def _ended(self, symbol: str, task: asyncio.Task[None]) -> None:
        del self.tasks[symbol]
        if not task.cancelled() and (error := task.exception()) and not self.failure.done():
            self.failure.set_exception(error)

    async def _close_all(self, symbol: str, seam: Seam, forward: Forward) -> None:
        while seam.hole is not None:
            await asyncio.sleep(GRACE_S)
            try:
                await self._fill(symbol, seam, forward)
            except (TimeoutError, FeedError, InvalidTickError) as error:
                log.warning("backfill_failed", symbol=symbol, error=str(error) or "too slow")
            if (hole := seam.hole) is not None:
                self._events.gap(symbol, "trades", hole.last - hole.first + 1)
                forward(seam.give_up())

    async def _fill(self, symbol: str, seam: Seam, forward: Forward) -> None:
        """Fetch page after page; raises when there is no page, or no progress, in time."""
        deadline = self._clock() + self._settings.backfill_timeout_s
        while (hole := seam.hole) is not None and self._worthwhile(hole, seam):
            async with asyncio.timeout_at(deadline):
                trades = await self._fetch(hole)
            ready = seam.offer(trades)
            forward(ready)
            filled = sum(hole.first <= (tick.trade_id or 0) <= hole.last for tick in ready)
            if filled:
                self._events.backfilled(symbol, filled)
            else:
                async with asyncio.timeout_at(deadline):
                    await asyncio.sleep(AGAIN_S)

    def _worthwhile(self, hole: Hole, seam: Seam) -> bool:
        most = self._settings.backfill_max_trades
        return self._settings.backfill and max(hole.last - hole.first + 1, seam.held) <= most

    async def _fetch(self, hole: Hole) -> list[Tick]:
        body = await self._rest.get(self._venue.trades_url(hole))
        trades = self._venue.parse_trades(hole.symbol, body)
        return [t for t in trades if hole.first <= (t.trade_id or 0) <= hole.last]
