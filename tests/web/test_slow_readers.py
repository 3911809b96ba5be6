"""Clients that read slowly are served, however young the connection; those that stop are not."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import eventually
from tests.variations import SNAPSHOT
from tests.web.serving import serving
from tests.web.test_fast_path import request
from volsvc.daemon.daemon import Daemon
from volsvc.web.routes import stream
from volsvc.web.server import server
from volsvc.web.server.connection import Connection

# Bytes of the kernel's buffers on both sides; it doubles them.
BUFFER = 4_096
# Seconds between two checks, and between two reads of a slow client.
CHECK_S = 0.02
SYMBOLS = 1_000
SCRIPT = "/docs/assets/swagger-ui-bundle.js"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def small_buffers(**http: Any) -> AsyncIterator[tuple[Daemon, socket.socket]]:
    """Run a daemon of many symbols, and yield it and a socket to connect to it."""
    async with serving({"http": http}) as (client, daemon):
        for number in range(SYMBOLS):
            row = SNAPSHOT.row._replace(symbol=f"S{number}-USD")
            daemon.services.latest_store.put(replace(SNAPSHOT, row=row), time.time())
        assert daemon._server is not None
        assert daemon._server._acceptor is not None
        # Accepted connections inherit it.
        listening = daemon._server._acceptor._socket
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            base = client._base_url
            assert base is not None
            caller.connect((str(base.host), base.port))
            yield daemon, caller


async def read(caller: socket.socket, most: int = BUFFER) -> bytes:
    async with asyncio.timeout(60):
        return await asyncio.get_running_loop().sock_recv(caller, most)


def connections(daemon: Daemon) -> list[Connection]:
    assert daemon._server is not None
    return [one for one in daemon._server._connections() if isinstance(one, Connection)]


@pytest.mark.parametrize("path", [SCRIPT, "/latest"])
async def test_a_slow_reader_on_a_new_connection(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the whole answer, however many checks see the rest of it wait."""
    monkeypatch.setattr(server, "CHECK_S", CHECK_S)
    async with small_buffers() as (_, caller):
        # Before the loop runs again: the answer waits when the first check sees the connection.
        caller.sendall(request("GET", path, Connection="close"))
        caller.setblocking(False)
        answer = bytearray()
        for _ in range(20):
            answer += await read(caller, 512)
            await asyncio.sleep(CHECK_S)
        while more := await read(caller, 65_536):
            answer += more
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    if path == SCRIPT:
        assert len(body) == int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]) > 1_000_000
    else:
        assert len(json.loads(body)["symbols"]) == SYMBOLS


async def test_a_slow_reader_of_a_first_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream goes on after its snapshot, however many heartbeats that has taken."""
    monkeypatch.setattr(server, "CHECK_S", CHECK_S)
    monkeypatch.setattr(stream, "HEARTBEAT_S", CHECK_S)
    async with small_buffers() as (daemon, caller):
        caller.sendall(request("GET", "/stream"))
        caller.setblocking(False)
        answer = bytearray()
        for _ in range(20):
            answer += await read(caller, 512)
            await asyncio.sleep(CHECK_S)
        while answer.count(b'"symbol":') < SYMBOLS:
            answer += await read(caller, 65_536)
        daemon.services.latest_store.put(SNAPSHOT, time.time())
        while b"event: forecast" not in answer:
            more = await read(caller, 65_536)
            assert more, "the stream has ended"
            answer += more


async def test_a_reader_that_is_slower_than_events_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its buffer grows at every check although it reads, until events are dropped: it stays."""
    monkeypatch.setattr(server, "CHECK_S", 3_600)
    async with small_buffers(request_timeout_s=10) as (daemon, caller):
        caller.sendall(request("GET", "/stream?symbols=NONE"))
        caller.setblocking(False)
        answer = b""
        while b"event: resync" not in answer:
            answer += await read(caller)
        (connection,) = [one for one in connections(daemon) if one.transport is not None][-1:]
        transport = connection._open_transport
        assert transport is not None
        waits, now_s = [0], time.monotonic()

        async def written() -> bool:
            return transport.get_write_buffer_size() >= waits[-1] + 10_000

        for _ in range(3):
            daemon.services.hub.publish("drift", None, {"text": "x" * 20_000})
            await eventually(written, 10, "the event waits", every_s=0.001)
            full = transport.get_write_buffer_size()
            while transport.get_write_buffer_size() == full:
                await read(caller, 1_024)
            waits.append(transport.get_write_buffer_size())
            connection.check(now_s)
            now_s += 6
        assert waits == sorted(set(waits)), "more waits at each check than at the last one"
        assert not transport.is_closing()
        connection.check(now_s)
        connection.check(now_s + 6)
        assert transport.is_closing(), "it has read nothing for longer than the limit"


@pytest.mark.parametrize("symbols", [50, SYMBOLS])
@pytest.mark.parametrize("more", [b"", b"GET /"], ids=["nothing", "half a head"])
async def test_a_reader_that_stops_holds_no_connection(
    symbols: int, more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither does one that was hung up on, and would have to read that too."""
    monkeypatch.setattr(server, "CHECK_S", CHECK_S)
    async with small_buffers(request_timeout_s=1, header_timeout_s=0.3) as (daemon, caller):
        for number in range(symbols, SYMBOLS):
            daemon.services.latest_store.drop(f"S{number}-USD")
        before = len(connections(daemon))
        caller.sendall(request("GET", "/latest"))
        caller.setblocking(False)
        assert b" 200 OK" in await read(caller, 64)
        transports = [one._open_transport for one in connections(daemon)[before:]]
        assert all(one.get_write_buffer_size() for one in transports if one), "some of it waits"
        await asyncio.get_running_loop().sock_sendall(caller, more)

        async def cut() -> bool:
            return len(connections(daemon)) == before

        await eventually(cut, 10, "the connection is cut")
