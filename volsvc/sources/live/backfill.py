"""Filling holes in trades over REST, and passing on without what cannot be had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from volsvc.config.live import LiveSourceSettings
from volsvc.domain import FeedError, InvalidTickError, Tick
from volsvc.sources.base import FeedEvents
from volsvc.sources.live.rest import RestClient
from volsvc.sources.live.trade_sequencer import TradeSequencer
from volsvc.sources.live.venue import TradeGap, Venue
from volsvc.telemetry.logs import get_logger

# A message that was merely overtaken may still come by itself.
GRACE_S = 0.1
# A venue's REST API may be a moment behind its socket.
AGAIN_S = 0.25

log = get_logger(__name__)

Forward = Callable[[list[Tick]], None]


class Backfill:
    """Closes the holes of seams, one task for each symbol that has one.

    `failure` is for the owner to watch: it raises what a task failed with.
    """

    def __init__(
        self, venue: Venue, settings: LiveSourceSettings, rest: RestClient, events: FeedEvents
    ) -> None:
        self._venue = venue
        self._settings = settings
        self._rest = rest
        self._events = events
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.failure: asyncio.Future[None] = loop.create_future()

    def start(self, symbol: str, sequencer: TradeSequencer, forward: Forward) -> None:
        """See to a seam's hole, unless that is under way."""
        if symbol not in self.tasks:
            task = asyncio.create_task(self._close_all(symbol, sequencer, forward))
            self.tasks[symbol] = task
            task.add_done_callback(lambda done: self._ended(symbol, done))

    def _ended(self, symbol: str, task: asyncio.Task[None]) -> None:
        del self.tasks[symbol]
        if not task.cancelled() and (error := task.exception()) and not self.failure.done():
            self.failure.set_exception(error)

    async def _close_all(self, symbol: str, sequencer: TradeSequencer, forward: Forward) -> None:
        while sequencer.gap is not None:
            await asyncio.sleep(GRACE_S)
            try:
                await self._fill(symbol, sequencer, forward)
            except (TimeoutError, FeedError, InvalidTickError) as error:
                log.warning("backfill_failed", symbol=symbol, error=str(error) or "too slow")
            if (gap := sequencer.gap) is not None:
                self._events.gap(symbol, "trades", gap.last - gap.first + 1)
                forward(sequencer.give_up())

    async def _fill(self, symbol: str, sequencer: TradeSequencer, forward: Forward) -> None:
        """Fetch page after page; raises when there is no page, or no progress, in time."""
        deadline = self._clock() + self._settings.backfill_timeout_s
        while (gap := sequencer.gap) is not None and self._worthwhile(gap, sequencer):
            async with asyncio.timeout_at(deadline):
                trades = await self._fetch(gap)
            ready = sequencer.offer(trades)
            forward(ready)
            filled = sum(gap.first <= (tick.trade_id or 0) <= gap.last for tick in ready)
            if filled:
                self._events.backfilled(symbol, filled)
            else:
                async with asyncio.timeout_at(deadline):
                    await asyncio.sleep(AGAIN_S)

    def _worthwhile(self, gap: TradeGap, sequencer: TradeSequencer) -> bool:
        most = self._settings.backfill_max_trades
        return self._settings.backfill and max(gap.last - gap.first + 1, sequencer.held) <= most

    async def _fetch(self, gap: TradeGap) -> list[Tick]:
        body = await self._rest.get(self._venue.trades_url(gap))
        trades = self._venue.parse_trades(gap.symbol, body)
        return [t for t in trades if gap.first <= (t.trade_id or 0) <= gap.last]
