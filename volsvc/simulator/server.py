"""The simulated exchange as a server: WebSocket at `/`, REST under `/products`."""

from __future__ import annotations

import asyncio
import contextlib
import math
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import WSMsgType, web

from volsvc.domain import NS, StartupError, parse_time
from volsvc.simulator import wire
from volsvc.simulator.market import Market
from volsvc.simulator.script import Script
from volsvc.simulator.session import Session
from volsvc.simulator.steps import Steps

CHANNELS = ("heartbeats", "market_trades", "ticker")
MOST_TRADES, MOST_CANDLES = 1_000, 300


class Simulator:
    """An exchange on a loopback port; used as a context that starts and ends it."""

    def __init__(
        self, tape: Steps, script: Script | None = None, *, speed: float = 1.0, port: int = 0
    ) -> None:
        """`speed` is that of event time against real time; port 0 takes a free one."""
        self.market = Market(tape, script or Script(), speed)
        self._port = port
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ws_url(self) -> str:
        """What `source.ws_url` has to be."""
        return f"ws://127.0.0.1:{self._port}"

    @property
    def rest_url(self) -> str:
        """What `source.rest_url` has to be."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self.open()
        periodic = [f for f in self.market.script.fault if f.every_s is not None]
        work = [self.market.play(), *map(self.market.disconnect_every, periodic)]
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
        await self.go_away()

    async def serve(self, stop: asyncio.Event) -> None:
        """Be there until `stop` is set; raises what the tape failed with."""
        play, stopped = self._tasks[0], asyncio.ensure_future(stop.wait())
        await asyncio.wait({play, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if play.done() and not stopped.done():
            play.result()
        await stopped

    async def open(self) -> None:
        """Listen; after `go_away` on the same port as before. Raises StartupError."""
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

    async def go_away(self) -> None:
        """Stop listening and drop every client; the market waits."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # --- WebSocket ------------------------------------------------------------------------

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        # A half-open session must not answer, so nothing is answered by itself.
        socket = web.WebSocketResponse(autoclose=False, autoping=False, timeout=0.5)
        await socket.prepare(request)
        assert request.transport is not None
        session = Session(socket, request.transport)
        beats = asyncio.create_task(session.beat(self.market.script.heartbeat_s))
        try:
            async for message in socket:
                if message.type is WSMsgType.PING:
                    await session.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    await self._hear(session, message.data)
            await session.close()
        finally:
            self.market.subscribers.leave(session)
            beats.cancel()
        return socket

    async def _hear(self, session: Session, text: str) -> None:
        try:
            message = msgspec.json.decode(text)
            kind, channel = message["type"], message["channel"]
            products = set(message.get("product_ids") or ())
        except (msgspec.MsgspecError, AttributeError, KeyError, TypeError):
            return await session.send(wire.error("malformed message"))
        wrong = kind != "subscribe" or channel not in CHANNELS
        if wrong or (channel != "heartbeats" and self.market.refuses()):
            return await session.send(wire.error("failure to subscribe"))
        known = session.channels.setdefault(channel, set())
        known |= {channel} if channel == "heartbeats" else products
        # The real venue confirms after the first data at times.
        await self.market.send_snapshots(session, [channel])
        confirmed = wire.confirmation(session.channels)
        await session.say("subscriptions", wire.now_text(), confirmed)
        if channel != "heartbeats":
            self.market.subscribers.join(session)
        return None

    # --- REST -----------------------------------------------------------------------------

    async def _trades(self, request: web.Request) -> web.Response:
        with self._checked(request) as query:
            count = min(MOST_TRADES, int(query.get("limit", MOST_TRADES)))
            after = int(query["after"]) if "after" in query else None
            trades = self.market.tape.before(request.match_info["symbol"], after, count)
            return _json([wire.rest_trade(tick) for tick in trades[::-1]])

    async def _candles(self, request: web.Request) -> web.Response:
        with self._checked(request) as query:
            size_s = int(query.get("granularity", 60))
            start_s, end_s = (parse_time(query[name]) // NS for name in ("start", "end"))
            if (end_s - start_s) // size_s >= MOST_CANDLES:
                raise ValueError("granularity too small for the requested time range")
            symbol = request.match_info["symbol"]
            return _json(self.market.tape.candles(symbol, start_s, end_s, size_s))

    @contextlib.contextmanager
    def _checked(self, request: web.Request) -> Any:
        """The query, unless the venue is busy; a mistake in it is the client's."""
        pause_s = self.market.throttle_s()
        if pause_s is not None:
            headers = {"Retry-After": f"{math.ceil(pause_s)}"}
            text = '{"message":"Public rate limit exceeded"}'
            raise web.HTTPTooManyRequests(headers=headers, text=text)
        try:
            yield request.query
        except (KeyError, ValueError) as error:
            text = msgspec.json.encode({"message": str(error)}).decode()
            raise web.HTTPBadRequest(text=text) from error


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
