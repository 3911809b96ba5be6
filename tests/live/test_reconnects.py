"""Tests of the attempts at a venue that declines, or is away: their number and their pauses."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web

from tests.daemon import eventually
from tests.live.feed import Feed, exchange, listening, settings
from tests.live.scripted_venue import (
    TRADE,
    Answer,
    accept,
    confirmation,
    products,
    scripted_venue,
)
from volsvc.config.settings import SourceSettings

HOUR_S = 3_600


class Venue:
    """A venue that counts handshakes, and answers them as it is told."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.times: list[float] = []

    async def handshake(self, request: web.Request) -> web.StreamResponse:
        self.times.append(asyncio.get_running_loop().time())
        return await self.answer(request)

    @property
    def pauses(self) -> list[float]:
        """The seconds between handshakes."""
        return [later - earlier for earlier, later in itertools.pairwise(self.times)]


def status(code: int, **headers: str) -> Answer:
    """Return the answer with a status."""

    async def answer(request: web.Request) -> web.Response:
        named: Mapping[str, str] = {name.replace("_", "-"): headers[name] for name in headers}
        return web.Response(status=code, headers=named, text="no")

    return answer


async def close_at_once(request: web.Request) -> web.StreamResponse:
    """Accept, and close with the code of a policy violation."""
    socket = await accept(request)
    await socket.close(code=1008)
    return socket


async def a_few_trades(request: web.Request) -> web.StreamResponse:
    """Confirm the subscriptions, send trades, and close."""
    socket = await accept(request)
    await socket.send_json(confirmation(await products(socket)))
    for _ in range(5):
        await socket.send_json(TRADE)
    await socket.close()
    return socket


def at(url: str, **keys: Any) -> SourceSettings:
    """Return the settings of a source at an address, with the defaults of reconnecting."""
    made = settings(exchange([]), **{"reconnect_max_s": 1.5, **keys})
    return made.model_copy(update={"ws_url": url})


@pytest.mark.usefixtures("loop_clock")
@pytest.mark.parametrize(
    "answer",
    [status(429), status(403), status(503), status(200), close_at_once],
    ids=["429", "403", "503", "200", "1008"],
)
async def test_a_venue_that_declines(answer: Answer) -> None:
    """Waits grow to minutes, and the attempts of an hour are few."""
    venue = Venue(answer)
    async with scripted_venue(venue.handshake) as url, listening(at(url)) as feed:
        await asyncio.sleep(HOUR_S)
        assert 15 <= len(venue.times) <= 60
        assert 100 < max(venue.pauses) < 301
        assert feed.metric("volsvc_feed_reconnects_total") == len(venue.times)
        assert feed.health.checks["feed:0"].status == "degraded"


@pytest.mark.usefixtures("loop_clock")
async def test_retry_after() -> None:
    """The pause that a venue asks for is the shortest wait; an hour of it is enough."""
    venue = Venue(status(429, Retry_After="60"))
    async with scripted_venue(venue.handshake) as url, listening(at(url)) as feed:
        await asyncio.sleep(600)
        assert 3 <= len(venue.times) <= 10
        assert min(venue.pauses) >= 60
        detail = feed.health.checks["feed:0"].detail
        assert "429" in detail
        assert "asks for a pause of 60 s" in detail
        venue.answer = status(503, Retry_After="1000000")
        await asyncio.sleep(400)
        count = len(venue.times)
        await asyncio.sleep(HOUR_S - 401)
        assert len(venue.times) == count
        await asyncio.sleep(HOUR_S)
        assert len(venue.times) > count


@pytest.mark.usefixtures("loop_clock")
async def test_good_data_end_the_long_waits() -> None:
    """After data a loss is followed by short waits again."""
    venue = Venue(status(503))
    async with scripted_venue(venue.handshake) as url, listening(at(url)) as feed:
        await asyncio.sleep(1_200)
        venue.answer = a_few_trades
        # Not more often, because each wait really lasts a millisecond.
        await eventually(lambda: _has_rows(feed), 400, "a trade", every_s=1)
        venue.answer = status(503)
        venue.times.clear()
        # Waits of at most 0.1, 4 and 8 s.
        await asyncio.sleep(15)
        assert len(venue.times) >= 3


async def _has_rows(feed: Feed) -> bool:
    return bool(feed.rows)


@pytest.mark.usefixtures("loop_clock")
async def test_a_venue_that_is_away() -> None:
    """After a second's outage attempts come within seconds, after an hour's within minutes."""
    keys = at("ws://127.0.0.1:9")
    reason = 'volsvc_feed_reconnects_total{reason="connect"}'
    async with listening(keys) as feed:
        await asyncio.sleep(30)
        first = feed.metric(reason)
        assert first >= 20
        await asyncio.sleep(2 * HOUR_S)
        before = feed.metric(reason)
        # With waits of at most 1.5 s these would be about ten thousand.
        assert before < 400
        await asyncio.sleep(HOUR_S)
        assert 30 <= feed.metric(reason) - before <= 120
