"""A TCP proxy on the loopback interface that disturbs connections as networks do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK = 64 * 1024


class Proxy:
    """Passes bytes on to `target`: late, not at all, or until a reset."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._delay_s = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._away = False
        self._writers: set[asyncio.StreamWriter] = set()

    def slow(self, delay_s: float) -> None:
        """Delay every chunk, in each direction."""
        self._delay_s = delay_s

    def swallow(self) -> None:
        """Accept and keep connections, but let no byte through."""
        self._flowing.clear()

    def reset(self) -> None:
        """Reset every connection; new ones are served."""
        for writer in list(self._writers):
            raw = writer.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()

    def go_away(self) -> None:
        """Reset every connection, and every new one."""
        self._away = True
        self.reset()

    def heal(self) -> None:
        """Serve normally again; swallowed bytes are lost with their connections."""
        self._delay_s = 0.0
        if not self._flowing.is_set():
            self.reset()
        self._away = False
        self._flowing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until either side ends."""
        self._writers.add(writer)
        try:
            if self._away:
                writer.transport.abort()
                return
            upstream = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(upstream[1])
            try:
                both = (self._pump(reader, upstream[1]), self._pump(upstream[0], writer))
                tasks = [asyncio.ensure_future(pump) for pump in both]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            finally:
                self._writers.discard(upstream[1])
                upstream[1].close()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await asyncio.sleep(self._delay_s)
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def proxy_to(port: int, target: int) -> AsyncIterator[Proxy]:
    """Run a proxy that listens on `port`."""
    proxy = Proxy(port, target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port)
    try:
        yield proxy
    finally:
        server.close()
        proxy.go_away()
        proxy.heal()
