"""Tests of symbols that a venue refuses by name."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from tests.live.feed import SYMBOL, WATCHED, exchange, listening, settings, trades
from tests.live.kraken_server import kraken
from tests.live.scripted_venue import (
    TRADE,
    accept,
    confirmation,
    products,
    scripted_venue,
    send_until_closed,
)
from volsvc.config.settings import SourceSettings
from volsvc.sources.live.kraken import Kraken

UNKNOWN = "BTC-MARS"
REFUSED = 'volsvc_feed_reconnects_total{reason="refused"}'


@pytest.mark.usefixtures("loop_clock")
async def test_the_only_symbol_is_unknown() -> None:
    """It is shown with the venue's text, tried again after minutes, and ok once it is confirmed."""
    async with kraken(trades(10, 2), frozenset(), drop_at=-1) as server:
        keys = SourceSettings(**{**server.keys, **WATCHED})
        async with listening(keys, (UNKNOWN,), Kraken()) as feed:
            await asyncio.sleep(110)
            assert feed.metric("volsvc_feed_reconnects_total") == 1
            check = feed.health.checks[f"feed:{UNKNOWN}"]
            assert check.status == "degraded"
            assert check.detail == "Currency pair not supported BTC/MARS"
            assert "not supported BTC/MARS" in feed.health.checks["feed:0"].detail
            await asyncio.sleep(6 * 3_600)
            # At first after 2 to 3 minutes, in the end after 2 to 32.
            assert 12 <= feed.metric(REFUSED) <= 60
            assert feed.metric("volsvc_feed_reconnects_total") == feed.metric(REFUSED)
            server.known.add("BTC/MARS")
            await asyncio.sleep(2_000)
            check = feed.health.checks[f"feed:{UNKNOWN}"]
            assert (check.status, check.detail) == ("ok", "")


@pytest.mark.usefixtures("loop_clock")
async def test_a_symbol_that_is_confirmed_later() -> None:
    """One of two symbols is refused, and asked for again with a later connection."""
    async with kraken(trades(40, 2), frozenset(), drop_at=50) as server:
        keys = SourceSettings(**{**server.keys, **WATCHED})
        async with listening(keys, (SYMBOL, UNKNOWN), Kraken()) as feed:
            await feed.until(lambda: len(feed.rows) == 80, "all trades")
            assert feed.health.checks[f"feed:{UNKNOWN}"].status == "degraded"
            assert feed.health.checks["feed:0"].detail == "1 symbols"
            assert feed.health.silent == {UNKNOWN}
            server.known.add("BTC/MARS")
            # The connections that end without data meanwhile.
            await asyncio.sleep(1_000)
            assert feed.health.checks[f"feed:{UNKNOWN}"].status == "ok"


@pytest.mark.usefixtures("loop_clock")
async def test_a_venue_that_refuses_all_for_one() -> None:
    """A connection does without the symbol for which the venue has refused all of them."""

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = await accept(request)
        symbols = await products(socket)
        if UNKNOWN in symbols:
            reason = f"{UNKNOWN} is not a valid product"
            error = {"type": "error", "message": "Failed to subscribe", "reason": reason}
            return await send_until_closed(socket, error, {"type": "heartbeat"})
        return await send_until_closed(socket, confirmation(symbols), TRADE)

    keys = settings(exchange([]), confirm_timeout_s=2)
    async with (
        scripted_venue(answer) as url,
        listening(keys.model_copy(update={"ws_url": url}), (SYMBOL, UNKNOWN)) as feed,
    ):
        await asyncio.sleep(100)
        assert feed.health.checks["feed:0"].status == "ok"
        check = feed.health.checks[f"feed:{UNKNOWN}"]
        text = f"Failed to subscribe: {UNKNOWN} is not a valid product"
        assert (check.status, check.detail) == ("degraded", text)
        assert feed.metric("volsvc_feed_reconnects_total") == 1
