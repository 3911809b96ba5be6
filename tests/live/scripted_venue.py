"""A venue whose answers a test writes: a WebSocket server with a handler of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

TRADE = {"type": "match", "product_id": "BTC-USD", "price": "1", "time": "2026-04-07T14:30:02Z"}


@asynccontextmanager
async def scripted_venue(answer: Answer) -> AsyncIterator[str]:
    """Run a server that answers each handshake by calling `answer`; yields its address."""
    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def accept(request: web.Request) -> web.WebSocketResponse:
    """Accept a connection."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    return socket


async def products(socket: web.WebSocketResponse) -> list[str]:
    """Wait for the subscription to data, and return its products."""
    while True:
        message = await socket.receive()
        assert message.type is WSMsgType.TEXT
        subscribe = json.loads(message.data)
        if "product_ids" in subscribe:
            names: list[str] = subscribe["product_ids"]
            return names


def confirmation(symbols: list[str]) -> dict[str, Any]:
    """Return the confirmation of subscriptions to trades."""
    return {
        "type": "subscriptions",
        "channels": [{"name": "market_trades", "product_ids": symbols}],
    }


async def send_until_closed(
    socket: web.WebSocketResponse, *messages: object, every_s: float = 0.1
) -> web.WebSocketResponse:
    """Send messages again and again, until the client has disconnected."""
    count = 0
    while not socket.closed:
        try:
            await socket.send_json(messages[count % len(messages)])
        except ConnectionError:
            break
        count += 1
        await asyncio.sleep(every_s)
    return socket
