"""A server with the parts of Kraken's WebSocket v2 and REST API that a feed of trades needs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

from volsvc.domain import Tick, format_time
from volsvc.domain.minute_bars import BarSeries


class KrakenServer:
    """Sends trades one by one, without those at `unsent`; disconnects before that at `drop_at`."""

    def __init__(self, trades: Sequence[Tick], unsent: frozenset[int], drop_at: int) -> None:
        self._trades = trades
        self._unsent = unsent
        self._drop_at = drop_at
        self._next = 0
        # Those before the trades.
        self.bars: BarSeries | None = None
        # The pairs that it trades.
        self.known = {"BTC/USD"}
        self.port = 0

    @property
    def keys(self) -> dict[str, Any]:
        """The settings of a source that connects here."""
        urls = {"ws_url": f"ws://127.0.0.1:{self.port}/v2"}
        return {"kind": "kraken", **urls, "rest_url": f"http://127.0.0.1:{self.port}"}

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Answer subscriptions, then send trades and heartbeats."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        status = {"system": "online", "api_version": "v2"}
        await socket.send_json({"channel": "status", "type": "update", "data": [status]})
        subscribe = await socket.receive()
        assert subscribe.type is WSMsgType.TEXT
        params = json.loads(subscribe.data)["params"]
        for symbol in params["symbol"]:
            known = symbol in self.known
            reply = _acknowledgement(params["channel"], symbol) if known else _refusal(symbol)
            await socket.send_json(reply)
        while self._next < len(self._trades):
            index, self._next = self._next, self._next + 1
            if index == self._drop_at:
                await socket.close()
                return socket
            if index not in self._unsent:
                data = [_trade(self._trades[index])]
                await socket.send_json({"channel": "trade", "type": "update", "data": data})
        # Keeps sending until the client has disconnected, even after its close frame.
        with contextlib.suppress(ConnectionError):
            while True:
                await socket.send_json({"channel": "heartbeat"})
                await asyncio.sleep(0.1)
        return socket

    async def trades(self, request: web.Request) -> web.Response:
        """Return trades later than `since`, oldest first."""
        assert request.query["pair"] == "XBTUSD"
        since = int(request.query["since"])
        rows = [_rest(t) for t in self._trades[: self._next] if t.time_ns > since]
        return web.json_response({"error": [], "result": {"XXBTZUSD": rows, "last": "0"}})

    async def candles(self, request: web.Request) -> web.Response:
        """Return the newest 720 minutes that begin later than `since`, also those without trades.

        The last one is that of the first trade, which has not ended.
        """
        assert (request.query["pair"], request.query["interval"]) == ("XBTUSD", "1")
        now, traded = self._trades[0].time_ns // (60 * 10**9), {}
        if self.bars is not None:
            traded = dict(zip(self.bars.minutes.tolist(), self.bars.values.tolist(), strict=True))
        rows = []
        for minute in range(now - 719, now + 1):
            prices = [f"{value:.8f}" for value in traded.get(minute, [1.0, 1.0, 1.0, 1.0, 0.0])]
            count = 1 if minute in traded or minute == now else 0
            if 60 * minute > int(request.query["since"]):
                rows.append([60 * minute, *prices[:4], "0.0", prices[4], count])
        return web.json_response({"error": [], "result": {"XXBTZUSD": rows, "last": 60 * now}})


def _acknowledgement(channel: str, symbol: str) -> dict[str, Any]:
    result = {"channel": channel, "snapshot": True, "symbol": symbol}
    return {"method": "subscribe", "result": result, "success": True}


def _refusal(symbol: str) -> dict[str, Any]:
    error = f"Currency pair not supported {symbol}"
    return {"method": "subscribe", "success": False, "error": error, "symbol": symbol}


def _trade(tick: Tick) -> dict[str, Any]:
    return {
        "symbol": tick.symbol.replace("-", "/"),
        "side": tick.side,
        "price": tick.price,
        "qty": tick.size,
        "ord_type": "market",
        "trade_id": tick.trade_id,
        "timestamp": format_time(tick.time_ns),
    }


def _rest(tick: Tick) -> list[Any]:
    seconds = float(f"{tick.time_ns / 1e9:.7f}")
    side = {"buy": "b", "sell": "s"}[tick.side or "buy"]
    return [repr(tick.price), repr(tick.size), seconds, side, "l", "", tick.trade_id]


@asynccontextmanager
async def kraken(
    trades: Sequence[Tick], unsent: frozenset[int], drop_at: int
) -> AsyncIterator[KrakenServer]:
    """Run a server."""
    server = KrakenServer(trades, unsent, drop_at)
    app = web.Application()
    app.router.add_get("/v2", server.socket)
    app.router.add_get("/0/public/Trades", server.trades)
    app.router.add_get("/0/public/OHLC", server.candles)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()
