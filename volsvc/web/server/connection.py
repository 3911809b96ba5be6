"""One client's connection: deadlines for slow clients, and errors as problems."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler

from volsvc.config.http import HttpSettings
from volsvc.web.admission import Gate, overloaded
from volsvc.web.problems import (
    BAD_REQUEST,
    HEADERS_TOO_LARGE,
    TIMEOUT,
    ProblemError,
    new_request_id,
    problem_response,
)
from volsvc.web.server.fast_path import FastPath
from volsvc.web.server.wire import written

Answer = TypeVar("Answer")

MAX_HEADERS = 100
_END_OF_HEAD = b"\r\n\r\n"
# How often slow clients are looked for.
CHECK_S = 0.5


@dataclass(frozen=True, slots=True)
class Door:
    """What every connection knows of the server that it came to."""

    server: web.Server
    gate: Gate
    fast_path: FastPath
    settings: HttpSettings


class Connection(RequestHandler):
    """Speaks HTTP/1.1 with one client.

    aiohttp waits as long as a client likes for the end of a head and for the reader of an answer;
    `check` ends such a connection after a while. It also ends the handler that takes too long: a
    timer of its own for each request would cost a tenth of it. A request whose head has come before
    is answered on the spot, see `shortcut`.
    """

    def __init__(self, door: Door) -> None:
        settings = door.settings
        super().__init__(
            door.server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=settings.keepalive_timeout_s,
            lingering_time=min(settings.request_timeout_s, 2.0),
            max_line_size=settings.max_header_bytes,
            max_field_size=settings.max_header_bytes,
            max_headers=MAX_HEADERS,
        )
        self._door = door
        self.arrived_s = time.perf_counter()
        self._head_since_s: float | None = None
        self._answer_by_s: float | None = None
        self._answering: asyncio.Task[None] | None = None
        self._overdue = False
        self._unread = 0
        self._unread_since_s = 0.0
        # Bytes until the next head begins; None where that is not known any more, and with it the
        # short way is closed for good.
        self._owed: int | None = 0
        # The body of the last request, once that is answered and while another may come. aiohttp's
        # handler begins to wait a turn of the loop later: a quick client has asked again by then.
        self._last: StreamReader | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected; one too many is told so and let go."""
        super().connection_made(transport)
        self._head_since_s = time.monotonic()
        if len(self._door.server.connections) > self._door.settings.max_connections:
            self._hang_up(overloaded("too many connections are open", 1))

    def data_received(self, data: bytes) -> None:
        """Bytes have come: note when a head begins, and when it is complete."""
        if self._owed == 0 and self._answered(data):
            return
        waited, before = self._waits_for_a_head(), self._request_count
        super().data_received(data)
        if self._owed is not None:
            self._owed = self._owed_after(data, self._owed, self._request_count - before)
        if self._request_count > before:
            self._head_since_s = None
            self._last = None
            self.arrived_s = time.perf_counter()
            self._door.gate.came(self)
        elif data and waited and self._head_since_s is None:
            self._head_since_s = time.monotonic()

    def _answered(self, data: bytes) -> bool:
        """Whether the data were one whole request that could be answered on the spot."""
        transport = self.transport
        if self._head_since_s is not None or not self._waits_for_a_head() or transport is None:
            return False
        end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
        known = self._door.fast_path.find(data[:end])
        if known is None or len(data) - end != known.length or self._paused:
            return False
        answer = self._door.fast_path.answer(known, data[end:])
        if answer is None:
            return False
        transport.write(answer)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return True

    def _owed_after(self, data: bytes, owed: int, begun: int) -> int | None:
        """Bytes until the next head begins, after these with the heads of `begun` requests."""
        if owed or not begun:
            return owed - len(data) if not begun and len(data) <= owed else None
        message = self._messages[-1][0]
        end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
        head = data[:end]
        # A parser may take a bare line feed, or blank lines in front, where this count does not.
        plain = head[:1].isalpha() and head.count(b"\n") == head.count(b"\r\n")
        if begun > 1 or not plain or not isinstance(message, RawRequestMessage):
            return None
        if message.chunked or message.upgrade:
            return None
        length = int(message.headers.get("Content-Length", 0))
        self._door.fast_path.learn(head, message, length)
        rest = len(data) - end
        return length - rest if rest <= length else None

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client is gone."""
        self._door.gate.left(self)
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the answer; with that the connection is free for the next request."""
        resp, reset = await super().finish_response(request, resp, start_time)
        if not reset and resp.keep_alive and not self._messages:
            self._last = request.content
        return resp, reset

    async def within(self, seconds: float, answer: Awaitable[Answer]) -> Answer:
        """Await an answer; raises TimeoutError when it takes longer, give or take CHECK_S."""
        self._answering = asyncio.current_task()
        self._answer_by_s = time.monotonic() + seconds
        try:
            return await answer
        except asyncio.CancelledError:
            overdue, self._overdue = self._overdue, False
            if not overdue or self._answering is None or self._answering.uncancel():
                raise
            raise TimeoutError from None
        finally:
            self._answer_by_s = self._answering = None

    def _waits_for_a_head(self) -> bool:
        return self._last is not None and self._last.is_eof() and not self._close

    def check(self, now_s: float) -> None:
        """End what takes too long: the client that sends a head or reads, or the answer."""
        settings = self._door.settings
        if self._answer_by_s is not None and now_s > self._answer_by_s and self._answering:
            self._answer_by_s, self._overdue = None, True
            self._answering.cancel()
        since_s = self._head_since_s
        if since_s is not None and now_s - since_s > settings.header_timeout_s:
            self._hang_up(ProblemError(TIMEOUT, "the head of the request was not complete in time"))
            return
        transport = self.transport
        unread = transport.get_write_buffer_size() if transport is not None else 0
        if unread == 0 or unread < self._unread:
            self._unread_since_s = now_s
        elif now_s - self._unread_since_s > settings.request_timeout_s and transport is not None:
            transport.abort()
        self._unread = unread

    def _hang_up(self, problem: ProblemError) -> None:
        """Say why, in so far as the client listens, and close."""
        transport = self.transport
        if transport is None:
            return
        response = problem_response(problem, new_request_id())
        assert isinstance(response.body, bytes)
        headers = [("Connection", "close"), *response.headers.items()]
        transport.write(written(response.status, response.reason, headers, response.body))
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to bytes that are no HTTP, or no HTTP that we take."""
        self._door.gate.left(self)
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        kind = HEADERS_TOO_LARGE if isinstance(exc, LineTooLong) else BAD_REQUEST
        response = problem_response(ProblemError(kind, _reason(exc)), new_request_id())
        response.force_close()
        return response


def _reason(error: BaseException | None) -> str:
    """What is wrong, without what was sent: that may hold a key."""
    if isinstance(error, LineTooLong):
        return "a line of the request's head is too long"
    if isinstance(error, BadHttpMessage):
        return "the request is not valid HTTP/1.1"
    return "the request cannot be read"
