"""TLS: clients that never shake hands, the limit on connections, and slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.app.test_keys_and_tls import certificate
from tests.daemon import eventually, metric_sum
from tests.variations import SNAPSHOT
from tests.web.serving import serving
from tests.web.test_fast_path import request
from volsvc.daemon.daemon import Daemon
from volsvc.web.server import server

# Seconds for a handshake.
HANDSHAKE_S = 2
MOST = 4

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def serving_tls(**http: Any) -> AsyncIterator[tuple[aiohttp.ClientSession, Daemon]]:
    """Run a daemon with a certificate of its own, which its client trusts."""
    files = certificate(Path.cwd(), "ours")
    given = {name.removeprefix("VOLSVC_HTTP__").lower(): path for name, path in files.items()}
    async with serving({"http": {**given, **http}}) as (client, daemon):
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=given["cert_file"]))
        async with aiohttp.ClientSession(client._base_url, connector=connector) as trusting:
            yield trusting, daemon


async def silent(client: aiohttp.ClientSession) -> Streams:
    """Return a connection over which nothing is said."""
    base = client._base_url
    assert base is not None
    return await asyncio.open_connection(base.host, base.port)


async def closed(streams: Streams) -> bool:
    """Wait until the server has closed a connection, without a word, and close it too."""
    reader, writer = streams
    try:
        async with asyncio.timeout(20):
            return await reader.read() == b""
    except ConnectionResetError:
        return True
    finally:
        writer.close()


async def connections(client: aiohttp.ClientSession) -> float:
    async with client.get("/metrics") as response:
        return metric_sum(await response.text(), "volsvc_http_connections")


async def test_silent_clients_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a handshake counts as one, and ends after `http.header_timeout_s`."""
    monkeypatch.setattr(server, "CHECK_S", 0.02)
    async with serving_tls(header_timeout_s=HANDSHAKE_S) as (client, _):
        callers = [await silent(client) for _ in range(3)]
        callers[1][1].write(b"\x16\x03\x01")

        async def counted() -> bool:
            return await connections(client) == 4

        await eventually(counted, 5, "the metric counts them")
        started = time.monotonic()
        for caller in callers:
            assert await closed(caller)
        assert time.monotonic() - started < 10, "not after the minute that asyncio gives"

        async def gone() -> bool:
            return await connections(client) == 1

        await eventually(gone, 5, "none is left")


async def test_silent_clients_do_not_pass_the_limit() -> None:
    """Over `http.max_connections` one more is closed at once; later there is room again."""
    async with serving_tls(header_timeout_s=2, max_connections=MOST) as (client, daemon):
        callers = [await silent(client) for _ in range(MOST)]
        acceptor = daemon._server._acceptor if daemon._server else None
        assert acceptor is not None

        async def full() -> bool:
            return acceptor.handshakes == MOST

        await eventually(full, 5, "they are accepted")
        assert await closed(await silent(client))
        assert acceptor.handshakes == MOST, "the first ones still have time"
        for caller in callers:
            assert await closed(caller)
        async with client.get("/health") as response:
            assert response.status == 200
        # The client keeps its connection, so that one fewer may wait.
        callers = [await silent(client) for _ in range(MOST)]
        for caller in callers[::-1]:
            assert await closed(caller)


async def test_silent_clients_do_not_delay_a_drain() -> None:
    """A stopping service waits for no handshake."""
    async with serving_tls(header_timeout_s=30) as (client, daemon):
        callers = [await silent(client) for _ in range(3)]
        acceptor = daemon._server._acceptor if daemon._server else None
        assert acceptor is not None

        async def accepted() -> bool:
            return acceptor.handshakes == 3

        await eventually(accepted, 5, "they are accepted")
        started = time.monotonic()
    assert time.monotonic() - started < 10
    for caller in callers:
        assert await closed(caller)


class TlsCaller:
    """A TLS client that takes bytes off the socket when it is told to, and never else."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        self._connection = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    async def ask(self, data: bytes) -> None:
        """Shake hands, and send a request."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._send()
                await self.receive(4_096)
        self._tls.write(data)
        await self._send()

    async def _send(self) -> None:
        await asyncio.get_running_loop().sock_sendall(self._connection, self._outgoing.read())

    async def receive(self, most: int) -> None:
        """Take some bytes off the socket; fails if the server has closed it."""
        async with asyncio.timeout(20):
            data = await asyncio.get_running_loop().sock_recv(self._connection, most)
        assert data, "the server has closed the connection"
        self._incoming.write(data)

    def read(self) -> bytes:
        """Return what was received."""
        found = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while True:
                found += self._tls.read(65_536)
        return found


async def test_a_slow_reader_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS keeps the rest of a snapshot where no buffer's size tells of it; it is sent in full."""
    monkeypatch.setattr(server, "CHECK_S", 0.02)
    async with serving_tls(request_timeout_s=0.5) as (client, daemon):
        store = daemon.services.latest_store
        for number in range(1_000):
            row = SNAPSHOT.row._replace(symbol=f"S{number}-USD")
            store.put(replace(SNAPSHOT, row=row), time.time())
        assert daemon._server is not None
        assert daemon._server._acceptor is not None
        listening = daemon._server._acceptor._socket
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        base = client._base_url
        assert base is not None
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.setblocking(False)
            address = str(base.host), base.port
            await asyncio.get_running_loop().sock_connect(connection, address)
            caller = TlsCaller(connection, ssl.create_default_context(cafile="ours.pem"))
            await caller.ask(request("GET", "/stream"))
            for _ in range(100):
                # News that waits behind the snapshot.
                store.put(SNAPSHOT, time.time())
                await caller.receive(4_096)
                await asyncio.sleep(0.02)
            answer = caller.read()
            assert b"event: forecast" not in answer, "the snapshot is not read yet"
            while b"event: forecast" not in answer:
                await caller.receive(65_536)
                answer += caller.read()
        assert answer.count(b'"symbol":') >= 1_000
