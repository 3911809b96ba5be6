"""Back-fill of missing trades over REST."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from volsvc.config.live import LiveSourceSettings
from volsvc.domain import FeedError, InvalidTickError, Tick
from volsvc.sources.base import FeedEvents
from volsvc.sources.live.rest import RestClient
from volsvc.sources.live.trade_sequencer import TradeSequencer
from volsvc.sources.live.venue import TradeGap, Venue, parsed
from volsvc.telemetry.logs import get_logger

# A message that was merely overtaken may still arrive by itself.
GRACE_S = 0.1
# Wait before the same page is requested again: a venue's REST API may lag behind its WebSocket.
RETRY_S = 0.25

log = get_logger(__name__)

Forward = Callable[[list[Tick]], None]


class Backfill:
    """Closes the gaps of trade sequencers, with one task for each symbol that has a gap.

    `failure` never completes unless a task fails; it then raises the task's exception.
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
        """Start to close a sequencer's gaps, unless a task already does."""
        if symbol not in self.tasks:
            task = asyncio.create_task(self._close_gaps(symbol, sequencer, forward))
            self.tasks[symbol] = task
            task.add_done_callback(lambda done: self._task_done(symbol, done))

    def _task_done(self, symbol: str, task: asyncio.Task[None]) -> None:
        del self.tasks[symbol]
        if not task.cancelled() and (error := task.exception()) and not self.failure.done():
            self.failure.set_exception(error)

    async def _close_gaps(self, symbol: str, sequencer: TradeSequencer, forward: Forward) -> None:
        # One task until no gap is left, because new gaps may open while one is filled.
        while sequencer.gap is not None:
            await asyncio.sleep(GRACE_S)
            try:
                await self._fill(symbol, sequencer, forward)
            except (TimeoutError, FeedError, InvalidTickError) as error:
                log.warning("backfill_failed", symbol=symbol, error=str(error) or "too slow")
            if (gap := sequencer.gap) is not None:
                self._events.gap(symbol, "trades", gap.last - gap.first + 1)
                forward(sequencer.skip_gap())

    async def _fill(self, symbol: str, sequencer: TradeSequencer, forward: Forward) -> None:
        """Fetch page after page until the gap is closed.

        Raises TimeoutError if a page does not arrive, or no progress is made, in time.
        """
        deadline = self._clock() + self._settings.backfill_timeout_s
        while (gap := sequencer.gap) is not None and self._may_fetch(gap, sequencer):
            async with asyncio.timeout_at(deadline):
                trades = await self._fetch(gap)
            ready = sequencer.add(trades)
            forward(ready)
            filled = sum(gap.first <= (tick.trade_id or 0) <= gap.last for tick in ready)
            if filled:
                self._events.backfilled(symbol, filled)
            else:
                async with asyncio.timeout_at(deadline):
                    await asyncio.sleep(RETRY_S)

    def _may_fetch(self, gap: TradeGap, sequencer: TradeSequencer) -> bool:
        # The bound holds for the buffer too: forecasts are late for as long as it grows.
        limit = self._settings.backfill_max_trades
        missing = gap.last - gap.first + 1
        return self._settings.backfill and max(missing, sequencer.buffered) <= limit

    async def _fetch(self, gap: TradeGap) -> list[Tick]:
        body = await self._rest.get(self._venue.trades_url(gap))
        trades = parsed(self._venue.parse_trades, gap.symbol, body)
        # Kraken pages by time, so a page begins before the gap and ends beyond it.
        return [t for t in trades if gap.first <= (t.trade_id or 0) <= gap.last]
