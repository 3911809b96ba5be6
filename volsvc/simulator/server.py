"""The simulated exchange as a server: WebSocket at `/`, REST under `/products`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import WSMsgType, web

from volsvc.domain import NS, StartupError, int_of, parse_time
from volsvc.simulator import coinbase_messages as messages
from volsvc.simulator.playback import Playback
from volsvc.simulator.script import Script
from volsvc.simulator.session import Session
from volsvc.simulator.steps import Steps

CHANNELS = ("heartbeats", "market_trades", "ticker")
# The limits of a REST page, as at Coinbase.
MAX_TRADES, MAX_CANDLES = 1_000, 300


class Simulator:
    """A simulated exchange on a loopback port; a context manager that starts and stops it."""

    def __init__(
        self, steps: Steps, script: Script | None = None, *, speed: float = 1.0, port: int = 0
    ) -> None:
        """`speed` is that of event time relative to real time; port 0 takes a free one."""
        self.playback = Playback(steps, script or Script(), speed)
        self._port = port
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ws_url(self) -> str:
        """The address for `source.ws_url`."""
        return f"ws://127.0.0.1:{self._port}"

    @property
    def rest_url(self) -> str:
        """The address for `source.rest_url`."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self.open()
        periodic = [f for f in self.playback.script.fault if f.every_s is not None]
        work = [self.playback.play(), *map(self.playback.disconnect_every, periodic)]
        self._tasks = [asyncio.create_task(part) for part in work]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self.close()

    async def serve(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set; raises the exception of a failed playback."""
        play, stopped = self._tasks[0], asyncio.ensure_future(stop.wait())
        await asyncio.wait({play, stopped}, return_when=asyncio.FIRST_COMPLETED)
        # The exchange stays open after the last step, but not after a failure.
        if play.done() and not stopped.done():
            play.result()
        await stopped

    async def open(self) -> None:
        """Start to listen, after `close` on the same port as before; raises StartupError."""
        app = web.Application()
        app.router.add_get("/", self._socket)
        app.router.add_get("/products/{symbol}/trades", self._trades)
        app.router.add_get("/products/{symbol}/candles", self._candles)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise StartupError(f"--port {self._port}: {error.strerror or error}") from error
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening and disconnect every client; the playback waits for new ones."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # --- WebSocket ------------------------------------------------------------------------

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        # aiohttp must not answer by itself, because a half-open session does not answer.
        socket = web.WebSocketResponse(autoclose=False, autoping=False, timeout=0.5)
        await socket.prepare(request)
        assert request.transport is not None
        session = Session(socket, request.transport)
        every_s = self.playback.script.heartbeat_s
        heartbeats = asyncio.create_task(session.send_heartbeats(every_s))
        try:
            async for message in socket:
                if message.type is WSMsgType.PING:
                    await session.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    await self._handle_text(session, message.data)
            await session.close()
        finally:
            self.playback.subscribers.discard(session)
            heartbeats.cancel()
        return socket

    async def _handle_text(self, session: Session, text: str) -> None:
        try:
            message = msgspec.json.decode(text)
            kind, channel = message["type"], message["channel"]
            products = set(message.get("product_ids") or ())
        except (msgspec.MsgspecError, AttributeError, KeyError, TypeError):
            return await session.send(messages.error("malformed message"))
        wrong = kind != "subscribe" or channel not in CHANNELS
        if wrong or (channel != "heartbeats" and self.playback.take_refusal()):
            return await session.send(messages.error("failure to subscribe"))
        subscribed = session.channels.setdefault(channel, set())
        # The real venue lists this channel by its own name in the place of products.
        subscribed |= {channel} if channel == "heartbeats" else products
        # The confirmation comes after the first data, as it does at times from the real venue.
        await self.playback.send_snapshots(session, [channel])
        events = messages.confirmation(session.channels)
        await session.send_events("subscriptions", messages.now_text(), events)
        if channel != "heartbeats":
            self.playback.subscribers.add(session)
        return None

    # --- REST -----------------------------------------------------------------------------

    async def _trades(self, request: web.Request) -> web.Response:
        return await self._answer(request, self._newest_trades)

    def _newest_trades(self, symbol: str, query: Mapping[str, str]) -> list[Any]:
        count = min(MAX_TRADES, int_of(query.get("limit", str(MAX_TRADES))))
        after = int_of(query["after"]) if "after" in query else None
        trades = self.playback.steps.before(symbol, after, count)
        return [messages.rest_trade(tick) for tick in trades[::-1]]

    async def _candles(self, request: web.Request) -> web.Response:
        return await self._answer(request, self._newest_candles)

    def _newest_candles(self, symbol: str, query: Mapping[str, str]) -> list[Any]:
        size_s = int_of(query.get("granularity", "60"))
        start_s, end_s = (parse_time(query[name]) // NS for name in ("start", "end"))
        if (end_s - start_s) // size_s >= MAX_CANDLES:
            raise ValueError("granularity too small for the requested time range")
        return self.playback.steps.candles(symbol, start_s, end_s, size_s)

    async def _answer(
        self, request: web.Request, items: Callable[[str, Mapping[str, str]], list[Any]]
    ) -> web.Response:
        """Answer with the items of a symbol, newest first, or as the next fault wants it.

        That is 429 during a throttle; a mistake is answered with 400.
        """
        fault = self.playback.take_rest_fault()
        kind = fault.kind if fault else ""
        if fault and kind == "rest_429":
            headers = {"Retry-After": f"{math.ceil(fault.seconds)}"}
            text = '{"message":"Public rate limit exceeded"}'
            raise web.HTTPTooManyRequests(headers=headers, text=text)
        if fault and kind == "rest_slow":
            await asyncio.sleep(fault.seconds)
        try:
            found = items(request.match_info["symbol"], request.query)
        except (KeyError, ValueError) as error:
            text = msgspec.json.encode({"message": str(error)}).decode()
            raise web.HTTPBadRequest(text=text) from error
        if kind in ("rest_empty", "rest_half"):
            found = found[-(len(found) // 2) :] if kind == "rest_half" and len(found) > 1 else []
        return _json(found)


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
