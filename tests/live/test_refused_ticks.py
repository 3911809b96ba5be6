"""Tests of feeds whose ticks are refused: warnings, /health, and the recovery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.daemon import eventually, running
from tests.live.feed import SYMBOL, WATCHED, exchange, listening, now_trades, settings
from tests.live.scripted_venue import (
    TRADE,
    accept,
    confirmation,
    products,
    scripted_venue,
    send_until_closed,
)
from volsvc.simulator import Fault
from volsvc.telemetry.health import Check

INVALID = {**TRADE, "price": "0"}


def venue_of(*messages: object, every_s: float = 0.1) -> Any:
    """Return a venue that confirms each subscription and repeats these messages."""

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = await accept(request)
        await socket.send_json(confirmation(await products(socket)))
        return await send_until_closed(socket, *messages, every_s=every_s)

    return scripted_venue(answer)


@pytest.mark.usefixtures("loop_clock")
@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([INVALID], "field 'price': '0' "),
        ([{"type": "subscriptions", "channels": 7}, {"type": "heartbeat"}], "field 'channels'"),
        ([{**TRADE, "product_id": "ETH-USD"}], "ETH-USD was not asked for"),
    ],
    ids=["invalid", "malformed", "another symbol"],
)
async def test_nothing_that_comes_is_taken(messages: Sequence[Any], text: str) -> None:
    """/health says why, at once and after the feed has been found stalled."""
    keys = settings(exchange([]), data_timeout_s=3)
    async with (
        venue_of(*messages) as url,
        listening(keys.model_copy(update={"ws_url": url})) as feed,
    ):

        def check() -> Check:
            return feed.health.checks.get("feed:0", Check("ok"))

        await feed.until(lambda: "nothing taken" in check().detail, "the refusal")
        assert check().status == "degraded"
        assert text in check().detail
        reason = 'volsvc_feed_reconnects_total{reason="data"}'
        await feed.until(lambda: feed.metric(reason) == 1, "the stall")
        assert check().status == "degraded"
        assert text in check().detail
        assert feed.health.silent == {SYMBOL}


@pytest.mark.usefixtures("loop_clock")
async def test_a_feed_that_turns_invalid_and_back() -> None:
    """A few invalid messages change nothing; many do, until the next tick is taken."""

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = await accept(request)
        await socket.send_json(confirmation(await products(socket)))
        await send_until_closed(
            socket, *[TRADE, *[INVALID] * 19] * 3, *[INVALID] * 20, TRADE, every_s=0.01
        )
        return socket

    keys = settings(exchange([]))
    async with (
        scripted_venue(answer) as url,
        listening(keys.model_copy(update={"ws_url": url})) as feed,
    ):
        invalid = 'volsvc_ticks_rejected_total{reason="price"}'
        await feed.until(lambda: feed.metric(invalid) == 57, "invalid ticks")
        assert feed.health.checks["feed:0"].status == "ok"
        await feed.until(lambda: feed.health.checks["feed:0"].status == "degraded", "the refusal")
        assert feed.metric("volsvc_feed_connected") == 0
        await feed.until(lambda: feed.health.checks["feed:0"].status == "ok", "the recovery")
        assert feed.metric("volsvc_feed_reconnects_total") == 0
        assert feed.health.silent == set()


async def test_every_tick_is_from_the_future(tmp_path: Path) -> None:
    """A host's clock that is an hour behind is seen by /health and in the log, and passes."""
    skew = Fault(kind="clock_skew", at=4, count=250, seconds=3_600)
    env = {f"VOLSVC_SOURCE__{key.upper()}": str(value) for key, value in WATCHED.items()}
    async with exchange(now_trades(400), skew, speed=5) as simulator:
        urls = ("--ws-url", simulator.ws_url, "--rest-url", simulator.rest_url)
        live = ("--source", "coinbase", "--symbols", SYMBOL, *urls)
        async with running(*live, env=env, cwd=tmp_path) as daemon:

            async def check_is(status: str) -> bool:
                checks = (await daemon.get("/health"))["checks"]
                return bool(checks.get("ticks", {}).get("status") == status)

            await eventually(lambda: check_is("degraded"), 15, "the refusal")
            health = await daemon.get("/health")
            assert health["status"] == "degraded"
            assert "is after its publication" in health["checks"]["ticks"]["detail"]
            await eventually(lambda: check_is("ok"), 15, "the recovery")
            assert daemon.log.count("ticks_refused") == 1
            assert daemon.log.count("no_tick_taken") == 1
            assert await daemon.stop() == 0
