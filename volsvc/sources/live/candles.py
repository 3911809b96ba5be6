"""Minute bars of before a symbol's first tick, from a venue's candles over REST."""

from __future__ import annotations

import asyncio

import numpy as np

from volsvc.config.warmup import WarmupSettings
from volsvc.domain import FeedError, InvalidTickError
from volsvc.domain.minute_bars import BarSeries, PastBars
from volsvc.sources.base import FeedEvents, Known
from volsvc.sources.history import minutes_before
from volsvc.sources.live.rest import RestClient
from volsvc.sources.live.venue import Candle, Venue, parsed
from volsvc.sources.recordings.bad_bars import bad_prints
from volsvc.sources.recordings.bars import are_valid

# Minutes without a candle at the end of a page, after which the rest is asked for.
MOST_SILENT = 3
# Pages after one another without a candle, before which the venue had no such symbol.
MOST_EMPTY = 2
# Share of the requests within the deadline; the rest is for retries, and for missed trades.
SHARE = 0.8
# As features.bad_print_sigmas by default.
FAR_SIGMAS = 15.0


class CandleFetcher:
    """Fetches the candles of symbols, several at once, the newest first.

    What has come by the deadline is used.
    """

    def __init__(
        self,
        venue: Venue,
        rest: RestClient,
        settings: WarmupSettings,
        events: FeedEvents,
        known: Known,
        symbols: int,
    ) -> None:
        """Each of so many `symbols` has its share of the requests within the deadline."""
        self._venue = venue
        self._rest = rest
        self._settings = settings
        self._events = events
        self._known = known
        self._slots = asyncio.Semaphore(settings.parallel)
        self._most_pages = max(1, int(SHARE * settings.deadline_s * rest.per_s / symbols))

    async def past_of(self, symbol: str, time_ns: int) -> PastBars | None:
        """Return the bars of a symbol before a tick, None without any; never raises FeedError."""
        asked = minutes_before(time_ns, self._known(symbol), self._settings.days)
        if not asked:
            return None
        candles: dict[int, Candle] = {}
        reason = "the venue has no candles"
        try:
            async with asyncio.timeout(self._settings.deadline_s), self._slots:
                await self._fetch(symbol, asked, candles)
        except TimeoutError:
            reason = f"no candles within {self._settings.deadline_s:g} s"
        except (FeedError, InvalidTickError) as error:
            reason = str(error)
        # The newest page may be lost with an older one there.
        if not candles or max(candles) < asked.stop - 1 - self._venue.candles_per_page:
            self._events.not_warmed(symbol, reason)
            return None
        bars = _series(candles)
        self._events.warmed(symbol, len(bars.minutes))
        return PastBars(symbol, "venue", bars)

    async def _fetch(self, symbol: str, asked: range, candles: dict[int, Candle]) -> None:
        """Fetch page after page backwards, into candles by minute; raises FeedError."""
        size, end, empty = self._venue.candles_per_page, asked.stop, 0
        oldest = asked.start
        if self._venue.newest_candles is not None:
            oldest = max(oldest, end - self._venue.newest_candles)
        for _ in range(self._most_pages):
            start = max(oldest, end - size)
            found = more = await self._page(symbol, range(start, end))
            while more and max(more) < end - MOST_SILENT:
                more = await self._page(symbol, range(max(more) + 1, end))
                found |= more
            candles |= found
            # A page that begins late is half of one: what is missing is asked for next.
            end = min(found, default=start)
            empty = 0 if found else empty + 1
            if end <= oldest or empty == MOST_EMPTY:
                return

    async def _page(self, symbol: str, asked: range) -> dict[int, Candle]:
        url = self._venue.candles_url(symbol, asked.start * 60, len(asked))
        found = parsed(self._venue.parse_candles, await self._rest.get(url))
        # A venue may answer more than it was asked for.
        return {c.start_s // 60: c for c in found if c.start_s // 60 in asked}


def _series(candles: dict[int, Candle]) -> BarSeries:
    """Return candles as bars, without those that are not valid or far from their neighbours."""
    minutes = np.array(sorted(candles), np.int64)
    values = np.array([candles[minute][1:] for minute in minutes.tolist()], np.float64)
    valid = are_valid(values)
    minutes, values = minutes[valid], values[valid]
    bad = bad_prints(minutes, values, FAR_SIGMAS)
    return BarSeries(np.delete(minutes, bad), np.delete(values, bad, axis=0))
