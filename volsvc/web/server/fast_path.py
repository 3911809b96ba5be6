"""The short way for requests that come again: the same head, to the byte, over a connection in use.

Clients that post rows or poll a symbol repeat their request's head. What aiohttp made of it the
first time is kept with its bytes, and the answer is written as soon as the request has come:
without parser, request object, task and router, which take several times as long as the answer
itself. Keys, quotas, limits, headers, metrics and the log's fields are those of the long way
(`middleware`). What is not plain goes the long way: this one need not know what it means.
"""

from __future__ import annotations

import re
import time
import zlib
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http import HttpVersion11, RawRequestMessage
from multidict import CIMultiDictProxy

from volsvc.config.http import Scope
from volsvc.telemetry.logs import log_scope
from volsvc.telemetry.tracing import OFF
from volsvc.web.admission import Gate
from volsvc.web.auth.access import Access
from volsvc.web.auth.browser import cors_headers
from volsvc.web.auth.rate_limit import quota_headers
from volsvc.web.compression import GZIP_FROM_BYTES, accepts_gzip
from volsvc.web.problems import new_request_id, problem_of, problem_response
from volsvc.web.routes import predict
from volsvc.web.routes.latest import newest
from volsvc.web.server.wire import REQUEST_ID, SAFE, log_request, written
from volsvc.web.services import Services

LONGEST_HEAD = 2_048
# Heads that are kept, of all connections; with keys and lengths of bodies they are many.
MOST_HEADS = 512
# A head with any other goes the long way.
_PLAIN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "prefer",
        "user-agent",
        "x-api-key",
    }
)
_PLAIN_BODIES = frozenset({"application/json", "application/json; charset=utf-8"})
_LATEST = re.compile(r"/latest/([A-Za-z0-9._-]{1,64})")


@dataclass(frozen=True, slots=True)
class Known:
    """What a head asks for; `length` is that of the body behind it, in bytes."""

    method: str
    route: str
    scope: Scope
    symbol: str
    length: int
    headers: CIMultiDictProxy[str]
    lenient: bool
    gzip: bool


class FastPath:
    """Heads that are known, and the answers to them."""

    def __init__(self, services: Services, gate: Gate, access: Access) -> None:
        self._services = services
        self._gate = gate
        self._access = access
        self._longest = services.settings.http.max_body_bytes
        self._heads: dict[bytes, Known | None] = {}

    def learn(self, head: bytes, message: RawRequestMessage, length: int) -> None:
        """Keep what the parser made of a head, which announces a body of `length` bytes."""
        if len(head) > LONGEST_HEAD or head in self._heads:
            return
        if len(self._heads) >= MOST_HEADS:
            del self._heads[next(iter(self._heads))]
        self._heads[head] = self._read(message, length)

    def find(self, head: bytes) -> Known | None:
        """What this head asks for, if it has come before and is plain."""
        return self._heads.get(head)

    def _read(self, message: RawRequestMessage, length: int) -> Known | None:
        headers = message.headers
        names = {name.lower() for name in headers}
        plain = names <= _PLAIN_HEADERS and len(names) == len(headers)
        if not plain or message.version != HttpVersion11 or message.should_close:
            return None
        gzip = accepts_gzip(headers)
        if message.method == "GET" and length == 0:
            match = _LATEST.fullmatch(message.path)
            if match is not None:
                return Known("GET", "/latest/{symbol}", "read", match[1], 0, headers, False, gzip)
        if message.method == "POST" and message.path == "/predict":
            lenient = predict.is_lenient(headers)
            longest = min(predict.inline_bytes(lenient=lenient), self._longest)
            if length <= longest and headers.get("Content-Type") in _PLAIN_BODIES:
                return Known("POST", "/predict", "predict", "", length, headers, lenient, gzip)
        return None

    def answer(self, known: Known, body: bytes) -> bytes | None:
        """The whole answer as it goes over the wire; None where the long way must be taken."""
        services = self._services
        if services.health.draining or services.tracer is not OFF:
            return None
        started = time.perf_counter()
        fields = {"request_id": new_request_id()}
        if known.symbol:
            fields["symbol"] = known.symbol
        scope = log_scope.set(lambda: fields)
        try:
            status, answer = self._answer(known, body, fields)
            took = time.perf_counter() - started
            log_request(known.route, status, took)
        finally:
            log_scope.reset(scope)
        services.metrics.time_request(known.method, known.route, status).observe(took)
        self._gate.took(took)
        return answer

    def _answer(self, known: Known, body: bytes, fields: dict[str, str]) -> tuple[int, bytes]:
        services = self._services
        headers: list[tuple[str, str]] = [(REQUEST_ID, fields["request_id"]), *SAFE.items()]
        try:
            key = self._access.identify(known.headers, known.scope)
            if not services.keyring.open:
                fields["key"] = key.name
            quota = self._access.spend(key)
            if quota is not None:
                headers += quota_headers(quota).items()
            if known.method == "GET":
                content, own = newest(services, known.symbol)
            else:
                serving = services.holder.current
                content, own = predict.answer(predict.Job(body, known.lenient, serving, services))
            status, reason = 200, "OK"
            headers += own.items()
        except Exception as error:  # noqa: BLE001
            problem = problem_of(error, known.method, known.route)
            response = problem_response(problem, fields["request_id"])
            assert isinstance(response.body, bytes)
            status, reason, content = response.status, response.reason, response.body
            headers += response.headers.items()
        headers += cors_headers(known.headers, services.settings.http).items()
        if len(content) >= GZIP_FROM_BYTES:
            headers.append(("Vary", "Accept-Encoding"))
            if known.gzip:
                headers.append(("Content-Encoding", "gzip"))
                content = zlib.compress(content, wbits=31)
        return status, written(status, reason, headers, content)


FAST_PATH = web.AppKey("shortcut", FastPath)
