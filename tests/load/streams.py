"""Many clients of /stream in one process, and clients that do not read."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

_EVENT = re.compile(rb'event: (\w+)\ndata: \{[^\n]*?"ts":"([^"]+)"')
_DROPPED = re.compile(rb'"dropped":(\d+)')


@dataclass(slots=True)
class Watched:
    """The events of all clients: their number, delays of forecasts in ms, and dropped events."""

    clients: int = 0
    events: int = 0
    dropped: int = 0
    delays_ms: list[float] = field(default_factory=list)
    ended: int = 0


class _Client(asyncio.Protocol):
    """A reader that counts all events and times a sample of them."""

    def __init__(self, watched: Watched, host: str) -> None:
        self._watched = watched
        self._host = host

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._watched.clients += 1
        assert isinstance(transport, asyncio.Transport)
        transport.write(f"GET /stream HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        watched = self._watched
        watched.events += data.count(b"event: forecast")
        watched.dropped += sum(int(n) for n in _DROPPED.findall(data))
        found = _EVENT.search(data)
        if found is not None and found[1] == b"forecast":
            sent = datetime.fromisoformat(found[2].decode()).timestamp()
            watched.delays_ms.append(max(0.0, 1e3 * (now - sent)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._watched.ended += 1


@asynccontextmanager
async def watching(url: str, count: int) -> AsyncIterator[Watched]:
    """Run `count` clients that read what comes."""
    host, port = url.removeprefix("http://").split(":")
    watched, loop = Watched(), asyncio.get_running_loop()
    transports = []
    try:
        for _ in range(count):
            transport, _ = await loop.create_connection(
                lambda: _Client(watched, host), host, int(port)
            )
            transports.append(transport)
        yield watched
    finally:
        for transport in transports:
            transport.close()


@asynccontextmanager
async def not_reading(url: str, requests: bytes, count: int) -> AsyncIterator[None]:
    """Run `count` clients that send requests and read no answer."""
    host, port = url.removeprefix("http://").split(":")
    loop, sockets = asyncio.get_running_loop(), []
    try:
        for _ in range(count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.setblocking(False)
            await loop.sock_connect(client, (host, int(port)))
            await loop.sock_sendall(client, requests)
            sockets.append(client)
        yield
    finally:
        for client in sockets:
            client.close()
