"""One client of the simulated exchange."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from volsvc.simulator import wire

# Parts in which a message drips.
PIECES = 40
# A client that does not read for this long is left.
SEND_S = 5.0


class Session:
    """A connection with its subscriptions; it numbers its messages from 0.

    A mute one is half open: the socket stands, and nothing is said or answered any more.
    """

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self.channels: dict[str, set[str]] = {}
        self.mute = False
        self.held: list[str] = []
        self._socket = socket
        self._transport = transport
        self._sequence = -1
        self._beats = 0
        self._lock = asyncio.Lock()

    def wants(self, symbol: str) -> list[str]:
        """The channels that it has subscribed to for a symbol."""
        return [channel for channel, symbols in self.channels.items() if symbol in symbols]

    def compose(self, channel: str, sent: str, events: wire.Events) -> str:
        """A message under the next number."""
        self._sequence += 1
        return wire.envelope(channel, sent, self._sequence, events)

    def reset(self) -> None:
        """Count the next message as 0."""
        self._sequence = -1

    async def send(self, text: str) -> None:
        """Send a text; a client that has gone does not hear it."""
        if self.mute:
            return
        async with self._lock:
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(SEND_S):
                    await self._socket.send_str(text)

    async def say(self, channel: str, sent: str, events: wire.Events) -> None:
        """Compose and send."""
        await self.send(self.compose(channel, sent, events))

    async def drip(self, text: str, seconds: float) -> None:
        """Send a text in pieces, over so many seconds, with nothing between them."""
        data = wire.frame(text)
        size = -(-len(data) // PIECES)
        async with self._lock:
            for start in range(0, len(data), size):
                if self._transport.is_closing():
                    return
                self._transport.write(data[start : start + size])
                await asyncio.sleep(seconds / PIECES)

    async def beat(self, every_s: float) -> None:
        """Send heartbeats, once they are subscribed to, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            if "heartbeats" in self.channels:
                self._beats += 1
                await self.say("heartbeats", wire.now_text(), wire.heartbeat(self._beats))

    async def pong(self, data: bytes) -> None:
        """Answer a ping."""
        if not self.mute:
            await self._socket.pong(data)

    async def close(self) -> None:
        """End the connection in good order, unless it is mute."""
        if not self.mute:
            with contextlib.suppress(ConnectionError):
                await self._socket.close()
