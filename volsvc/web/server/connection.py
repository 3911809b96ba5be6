"""One client's connection: the way into the fast path, deadlines, and errors as problems.

The only module that uses private names of aiohttp, for what it has no public way to: see
`tests/web/test_aiohttp_names.py`, which says of each what depends on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.http import HttpVersion10, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage, ContentEncodingError, LineTooLong
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from volsvc.config.http import HttpSettings
from volsvc.web.admission import Gate, overloaded
from volsvc.web.problem_types import BAD_REQUEST, HEADERS_TOO_LARGE, REQUEST_TIMEOUT
from volsvc.web.problems import ProblemError, as_problem, new_request_id, problem_response
from volsvc.web.request_body import unsupported_coding
from volsvc.web.server.fast_path import FastPath
from volsvc.web.server.read_progress import ReadProgress, acknowledged_bytes
from volsvc.web.server.wire import END_OF_HEAD, encode_response, plain_head

Answer = TypeVar("Answer")

MAX_HEADERS = 100
# How often slow clients are looked for.
CHECK_S = 0.5


@dataclass(frozen=True, slots=True)
class ConnectionContext:
    """The parts of the server that every connection uses."""

    server: web.Server
    gate: Gate
    fast_path: FastPath
    settings: HttpSettings
    max_connections: int


class UnversionedRequestError(BadHttpMessage):
    """A request of HTTP/0.9, whose answer would have neither status nor headers."""


# Longer than other classes: aiohttp calls one protocol object for all that happens on a connection.
class Connection(RequestHandler):
    """Speaks HTTP/1.1 with one client.

    aiohttp waits without limit for the end of a head and for a client to read an answer; `check`
    ends such a connection. It also cancels the handler that takes too long: a timer of its own for
    each request would cost a tenth of the request. A request whose head has come before goes to the
    fast path.
    """

    def __init__(self, context: ConnectionContext) -> None:
        settings = context.settings
        super().__init__(
            context.server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=settings.keepalive_timeout_s,
            lingering_time=min(settings.request_timeout_s, 2.0),
            max_line_size=settings.max_header_bytes,
            max_field_size=settings.max_header_bytes,
            max_headers=MAX_HEADERS,
        )
        self._context = context
        self.arrived_s = time.perf_counter()
        self._head_since_s: float | None = None
        self._answer_by_s: float | None = None
        self._answering: asyncio.Task[None] | None = None
        self._overdue = False
        self._closing = False
        self._reading = ReadProgress()
        # Until it is lost: aiohttp's own goes with the decision to close, but the client may still
        # have to read an answer.
        self._open_transport: asyncio.Transport | None = None
        # Bytes until the next head begins. None once that is not known: the fast path is then
        # closed to this connection for good, since it would take a body for a head.
        self._to_next_head: int | None = 0
        # The body of the last answered request, while another may come. aiohttp's handler begins to
        # wait a turn of the loop later, and a quick client has sent its next request by then.
        self._answered_body: StreamReader | None = None
        self._newest_body: StreamReader = EMPTY_PAYLOAD

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline of the first head; refuse a connection over the limit."""
        super().connection_made(transport)
        self._open_transport = self.transport
        self._head_since_s = time.monotonic()
        if len(self._context.server.connections) > self._context.max_connections:
            self._hang_up(overloaded("too many connections are open", 1))

    def data_received(self, data: bytes) -> None:
        """Answer by the fast path, or parse message by message."""
        if self._to_next_head == 0 and self._answer_fast(data):
            return
        # Bytes that are no HTTP make the parser forget the requests that it was given with them.
        start = 0
        while True:
            end = self._end_of_part(data, start)
            self._parse(data[start:end])
            start = end
            if start == len(data):
                return

    def _end_of_part(self, data: bytes, start: int) -> int:
        """Return the end of the head or the body that begins or goes on at `start`, if known."""
        if self._to_next_head is None:
            return len(data)
        if self._to_next_head:
            return min(start + self._to_next_head, len(data))
        end = data.find(END_OF_HEAD, start)
        return len(data) if end < 0 else end + len(END_OF_HEAD)

    def _parse(self, data: bytes) -> None:
        """Give data to the parser; notes when a head begins and when it is complete."""
        idle, before = self._is_idle(), len(self._messages)
        super().data_received(data)
        heads = len(self._messages) - before
        if self._to_next_head is not None:
            self._to_next_head = self._bytes_to_next_head(data, self._to_next_head, heads)
        if heads:
            self._review(before)
            self._head_since_s = None
            self._answered_body = None
            self.arrived_s = time.perf_counter()
            self._context.gate.enter(self)
        elif data and idle and self._head_since_s is None:
            self._head_since_s = time.monotonic()

    def _answer_fast(self, data: bytes) -> bool:
        """Answer data that are one whole request with a known head; return whether they were."""
        transport = self.transport
        if self._head_since_s is not None or not self._is_idle() or transport is None:
            return False
        end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
        known = self._context.fast_path.find(data[:end])
        # A client that does not read its answers must not make them pile up here.
        if known is None or len(data) - end != known.length or self.writing_paused:
            return False
        answer = self._context.fast_path.answer(known, data[end:])
        if answer is None:
            return False
        transport.write(answer)
        # The parser saw nothing of this request, so the keep-alive time is started anew here.
        now_s = asyncio.get_running_loop().time()
        self._next_keepalive_close_time = now_s + self.keepalive_timeout
        return True

    def _bytes_to_next_head(self, data: bytes, pending: int, heads: int) -> int | None:
        """Return the bytes until the next head begins, after `data` with `heads` new heads.

        `pending` is the number before them; None if it cannot be known. The count rests on what the
        parser made of the head, so that there is no second opinion on where a message ends.
        """
        if not heads:
            return pending - len(data) if len(data) <= pending else None
        if pending or heads > 1:
            return None
        message = self._messages[-1][0]
        # Else the parser could not read it, and the connection is closed with the answer.
        if not isinstance(message, RawRequestMessage):
            return None
        found = plain_head(data, message)
        if found is None:
            return None
        head, length = found
        self._context.fast_path.learn(head, message, length)
        rest = len(data) - len(head)
        return length - rest if rest <= length else None

    def _review(self, first: int) -> None:
        """Refuse requests of HTTP/0.9, and end a body that an error has cut, from a message on."""
        for index in range(first, len(self._messages)):
            message, body = self._messages[index]
            if not isinstance(message, RawRequestMessage):
                # The parser has forgotten the body that it was reading: its request would wait.
                if not self._newest_body.is_eof():
                    self._newest_body.set_exception(web.RequestPayloadError())
            elif message.version < HttpVersion10:
                error = UnversionedRequestError("the request line names no version of HTTP")
                self._messages[index] = (_ErrInfo(400, error, ""), EMPTY_PAYLOAD)
            self._newest_body = body

    def close(self) -> None:
        """Close after the request in hand; requests that wait behind it are not answered."""
        self._closing = True
        super().close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Free the place of a request in flight."""
        self._context.gate.leave(self)
        self._open_transport = None
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the answer; with that the connection is free for the next request."""
        if isinstance(resp, web.HTTPException) and resp.status >= 400:
            # Of aiohttp itself, before the middleware was asked: of a header `Expect`.
            self._context.gate.leave(self)
            problem = as_problem(resp)
            assert problem is not None, "every error of HTTP is a problem"
            resp = problem_response(problem, new_request_id())
        resp, reset = await super().finish_response(request, resp, start_time)
        if not reset and resp.keep_alive and not self._messages:
            self._answered_body = request.content
        return resp, reset

    async def within(self, seconds: float, answer: Awaitable[Answer]) -> Answer:
        """Await an answer; raises TimeoutError if it takes longer, to within CHECK_S."""
        self._answering = asyncio.current_task()
        self._answer_by_s = time.monotonic() + seconds
        try:
            return await answer
        except asyncio.CancelledError:
            overdue, self._overdue = self._overdue, False
            # Only a cancellation by `check` is a timeout; the server's own must go on.
            if not overdue or self._answering is None or self._answering.uncancel():
                raise
            raise TimeoutError from None
        finally:
            self._answer_by_s = self._answering = None

    def _is_idle(self) -> bool:
        """Return whether the last request is answered and its body read to the end."""
        body = self._answered_body
        return body is not None and body.is_eof() and not self._closing

    def check(self, now_s: float) -> None:
        """End what takes too long at a monotonic time: handler, head, or reading of answers."""
        settings = self._context.settings
        if self._answer_by_s is not None and now_s > self._answer_by_s and self._answering:
            self._answer_by_s, self._overdue = None, True
            self._answering.cancel()
        since_s = self._head_since_s
        if since_s is not None and now_s - since_s > settings.header_timeout_s:
            self._head_since_s = None
            self._hang_up(
                ProblemError(REQUEST_TIMEOUT, "the head of the request was not complete in time")
            )
        transport = self._open_transport
        if transport is None:
            return
        unread = transport.get_write_buffer_size()
        acknowledged = acknowledged_bytes(transport) if unread else 0
        if self._reading.stalled_s(unread, acknowledged, now_s) > settings.request_timeout_s:
            transport.abort()

    def _hang_up(self, problem: ProblemError) -> None:
        """Send a problem, as far as the client still reads, and close."""
        transport = self.transport
        if transport is None:
            return
        response = problem_response(problem, new_request_id())
        assert isinstance(response.body, bytes)
        headers = [("Connection", "close"), *response.headers.items()]
        transport.write(encode_response(response.status, response.reason, headers, response.body))
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to bytes that are not HTTP, or break its limits."""
        self._context.gate.leave(self)
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        response = problem_response(_problem_of(exc), new_request_id())
        response.force_close()
        return response


def _problem_of(error: BaseException | None) -> ProblemError:
    """Return what is wrong, without what was sent: that may hold a key."""
    if isinstance(error, LineTooLong):
        return ProblemError(HEADERS_TOO_LARGE, "a line of the request's head is too long")
    if isinstance(error, ContentEncodingError):
        return unsupported_coding()
    if isinstance(error, UnversionedRequestError):
        return ProblemError(BAD_REQUEST, str(error.args[0]))
    if isinstance(error, BadHttpMessage):
        return ProblemError(BAD_REQUEST, "the request is not valid HTTP/1.1")
    return ProblemError(BAD_REQUEST, "the request cannot be read")
