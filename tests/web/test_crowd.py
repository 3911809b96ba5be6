"""Many clients at once, on the event loop of the service: none waits for long."""

from __future__ import annotations

import asyncio
import select
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tests.web.serving import ROW, serving
from tests.web.test_fast_path import request

CROWD = 200


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def on_uvloop(check: Callable[[aiohttp.ClientSession], Awaitable[None]], **http: Any) -> None:
    """Run the check beside a daemon on uvloop, which polls and calls in an order of its own."""

    async def run() -> None:
        async with serving({"http": http}) as (client, _):
            await check(client)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def connected(client: aiohttp.ClientSession) -> socket.socket:
    """Return a new connection; the kernel accepts it even while the event loop is busy."""
    base = client._base_url
    assert base is not None
    return socket.create_connection((str(base.host), base.port), timeout=10)


async def answer_on(caller: socket.socket) -> bytes:
    """Return the next answer, which has a short body."""
    caller.setblocking(False)
    async with asyncio.timeout(60):
        answer = await asyncio.get_running_loop().sock_recv(caller, 65_536)
    caller.setblocking(True)
    return answer


def test_a_crowd_is_let_in_together() -> None:
    """Clients that come at once are all answered within a few turns of the loop, not one a turn."""

    async def check(client: aiohttp.ClientSession) -> None:
        with ExitStack() as stack:
            callers = [stack.enter_context(connected(client)) for _ in range(CROWD)]
            for caller in callers:
                caller.sendall(request("GET", "/health/live"))
            turns = 0
            while len(select.select(callers, [], [], 0)[0]) < CROWD and turns < CROWD:
                await asyncio.sleep(0)
                turns += 1
            assert turns < CROWD / 4

    on_uvloop(check, max_inflight=CROWD)


def test_a_quick_client_is_answered_on_the_spot(
    fast: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request may come before the handler of the last one has begun to wait for it."""
    asked = request("POST", "/predict", {"rows": [ROW]})
    finish = RequestHandler.finish_response
    callers: list[socket.socket] = []

    async def then_ask_again(
        self: RequestHandler, about: web.BaseRequest, answer: web.StreamResponse, at: float | None
    ) -> tuple[web.StreamResponse, bool]:
        done = await finish(self, about, answer, at)
        if about.path == "/predict":
            callers[0].sendall(asked)
        return done

    async def check(client: aiohttp.ClientSession) -> None:
        with connected(client) as caller:
            callers.append(caller)
            caller.sendall(asked)
            for _ in range(2):
                assert (await answer_on(caller)).startswith(b"HTTP/1.1 200 ")

    monkeypatch.setattr(RequestHandler, "finish_response", then_ask_again)
    on_uvloop(check)
    assert fast == {"/predict": 1}


def test_the_fast_path_takes_no_place_in_flight(fast: Counter[str]) -> None:
    """A request of the fast path is answered even when `http.max_inflight` is reached."""
    asked = request("POST", "/predict", {"rows": [ROW]})
    head, _, body = asked.partition(b"\r\n\r\n")

    async def check(client: aiohttp.ClientSession) -> None:
        with connected(client) as caller, connected(client) as slow:
            for _ in range(2):
                caller.sendall(asked)
                assert (await answer_on(caller)).startswith(b"HTTP/1.1 200 ")
            slow.sendall(head + b"\r\n\r\n" + body[:-1])
            async with client.get("/health/live") as response:
                assert response.status == 200
            async with client.post("/predict", json={"rows": [ROW]}) as response:
                assert response.status == 429, "there is no room"
            caller.sendall(asked)
            assert (await answer_on(caller)).startswith(b"HTTP/1.1 200 ")

    on_uvloop(check, max_inflight=1)
    assert fast == {"/predict": 2}
