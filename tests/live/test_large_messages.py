"""Tests of the longest message that is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from tests.live.feed import exchange, listening, settings
from tests.live.scripted_venue import TRADE, accept, products, scripted_venue, send_until_closed
from volsvc.sources.live.message_reader import MAX_MESSAGE_MIB, MIB

LIMIT = MAX_MESSAGE_MIB * MIB


def padded(size: int) -> dict[str, Any]:
    """Return a trade whose message has so many bytes."""
    empty = {**TRADE, "padding": ""}
    return {**TRADE, "padding": "x" * (size - len(json.dumps(empty)))}


@pytest.mark.parametrize("first", [True, False])
async def test_a_message_above_the_limit(first: bool) -> None:
    """The limit is named as ours; the venue, which goes on sending, gets few attempts."""

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = await accept(request)
        await products(socket)
        if not first:
            await socket.send_json(TRADE)
        return await send_until_closed(socket, padded(LIMIT + 1), TRADE, every_s=0.01)

    keys = settings(exchange([]), heartbeat_timeout_s=10)
    async with (
        scripted_venue(answer) as url,
        listening(keys.model_copy(update={"ws_url": url})) as feed,
    ):
        reason = 'volsvc_feed_reconnects_total{reason="too_large"}'
        await feed.until(lambda: feed.metric(reason) == 1, "the end of the connection")
        check = feed.health.checks["feed:0"]
        text = "too_large: a message is larger than our limit of 16 MiB"
        assert (check.status, check.detail) == ("degraded", text)
        assert feed.metric("volsvc_feed_reconnects_total") == 1
        assert len(feed.rows) == (not first)


async def test_a_message_just_below_the_limit() -> None:
    """It is read."""

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = await accept(request)
        await products(socket)
        return await send_until_closed(socket, padded(LIMIT - 1), TRADE)

    keys = settings(exchange([]), heartbeat_timeout_s=10)
    async with (
        scripted_venue(answer) as url,
        listening(keys.model_copy(update={"ws_url": url})) as feed,
    ):
        await feed.until(lambda: bool(feed.rows), "a trade")
        assert feed.metric("volsvc_feed_reconnects_total") == 0
