"""One client of the simulated exchange."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from volsvc.simulator import coinbase_messages as messages

# Pieces of a message that is sent slowly.
DRIP_PIECES = 40
# A client that does not read for this long misses the message.
SEND_TIMEOUT_S = 5.0


class Session:
    """A connection with its subscriptions; its messages are numbered from 0.

    While `half_open`, the socket stays open, but nothing is sent or answered.
    """

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        # Symbols by channel.
        self.channels: dict[str, set[str]] = {}
        self.half_open = False
        # Messages that the next ones overtake.
        self.delayed: list[str] = []
        self._socket = socket
        self._transport = transport
        self._sequence = -1
        self._heartbeats = 0
        self._lock = asyncio.Lock()

    def channels_of(self, symbol: str) -> list[str]:
        """Return the channels that are subscribed to for a symbol."""
        return [channel for channel, symbols in self.channels.items() if symbol in symbols]

    def number_message(self, channel: str, sent: str, events: messages.Events) -> str:
        """Return a message with the next number."""
        self._sequence += 1
        return messages.envelope(channel, sent, self._sequence, events)

    def reset_sequence(self) -> None:
        """Number the next message 0."""
        self._sequence = -1

    async def send(self, text: str) -> None:
        """Send a text; does nothing for a client that has disconnected."""
        if self.half_open:
            return
        async with self._lock:
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._socket.send_str(text)

    async def send_events(self, channel: str, sent: str, events: messages.Events) -> None:
        """Send events in a message with the next number."""
        await self.send(self.number_message(channel, sent, events))

    async def send_slowly(self, text: str, seconds: float) -> None:
        """Send a text in pieces over so many seconds, with no other message between them."""
        # The bytes of one frame are written past aiohttp, which sends frames as a whole.
        data = messages.frame(text)
        size = -(-len(data) // DRIP_PIECES)
        async with self._lock:
            for start in range(0, len(data), size):
                if self._transport.is_closing():
                    return
                self._transport.write(data[start : start + size])
                await asyncio.sleep(seconds / DRIP_PIECES)

    async def send_heartbeats(self, every_s: float) -> None:
        """Send heartbeats, once they are subscribed to, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            if "heartbeats" in self.channels:
                self._heartbeats += 1
                events = messages.heartbeat(self._heartbeats)
                await self.send_events("heartbeats", messages.now_text(), events)

    async def pong(self, data: bytes) -> None:
        """Answer a ping."""
        if not self.half_open:
            await self._socket.pong(data)

    async def close(self) -> None:
        """Close the connection, unless it is half-open."""
        if not self.half_open:
            with contextlib.suppress(ConnectionError):
                await self._socket.close()
