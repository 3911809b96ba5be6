"""Fast path: answers to requests whose head has come before, byte for byte.

Clients that post rows or poll a symbol repeat their request's head. What aiohttp's parser made of
it the first time is kept under its bytes, and the answer is written as soon as the request has
come, without parser, request object, task and router: those cost two to three times as much as the
answer itself. Access, quota, headers, compression, errors, metrics and log are those of every
request (`rules`, `headers`, `compression`). Whatever is not plain is left to the middleware, so
that the fast path need not know what it means.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http import HttpVersion11, RawRequestMessage
from multidict import CIMultiDictProxy

from volsvc.config.http import Scope
from volsvc.telemetry.logs import log_scope
from volsvc.telemetry.tracing import OFF
from volsvc.web.compression import compress
from volsvc.web.headers import all_headers, base_headers
from volsvc.web.problems import new_request_id
from volsvc.web.routes import predict
from volsvc.web.routes.latest import latest_body
from volsvc.web.server.rules import RequestRules
from volsvc.web.server.wire import encode_response
from volsvc.web.services import Services

# Heads that are kept, of all connections; with keys and lengths of bodies there are many. Together
# with the longest head this bounds their memory to a megabyte.
MOST_HEADS = 512
LONGEST_HEAD = 2_048
# Headers that change nothing which the fast path does not look at. Any other one, above all Origin,
# If-None-Match, traceparent and X-Request-ID, leaves the request to the middleware.
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
class KnownHead:
    """A parsed head; `length` is that of the body behind it, in bytes."""

    method: str
    route: str
    scope: Scope
    symbol: str
    length: int
    headers: CIMultiDictProxy[str]
    lenient: bool


class FastPath:
    """The heads that are known, and the answers to their requests."""

    def __init__(self, services: Services, rules: RequestRules) -> None:
        self._services = services
        self._rules = rules
        self._longest_body = services.settings.http.max_body_bytes
        # None for a head that is known not to be plain.
        self._heads: dict[bytes, KnownHead | None] = {}

    def learn(self, head: bytes, message: RawRequestMessage, length: int) -> None:
        """Keep what the parser made of a head, which announces a body of `length` bytes."""
        if len(head) > LONGEST_HEAD or head in self._heads:
            return
        if len(self._heads) >= MOST_HEADS:
            # The oldest goes; one that is in use comes back with its next request.
            del self._heads[next(iter(self._heads))]
        self._heads[head] = self._read(message, length)

    def find(self, head: bytes) -> KnownHead | None:
        """Return the head if it has come before and is plain."""
        return self._heads.get(head)

    def _read(self, message: RawRequestMessage, length: int) -> KnownHead | None:
        headers = message.headers
        names = {name.lower() for name in headers}
        # A header given twice needs rules of its own, such as for two credentials.
        plain = names <= _PLAIN_HEADERS and len(names) == len(headers)
        if not plain or message.version != HttpVersion11 or message.should_close:
            return None
        if message.method == "GET" and length == 0:
            match = _LATEST.fullmatch(message.path)
            if match is not None:
                return KnownHead("GET", "/latest/{symbol}", "read", match[1], 0, headers, False)
        if message.method == "POST" and message.path == "/predict":
            lenient = predict.is_lenient(headers)
            # What is longer is answered in a thread, which takes a task to wait for it.
            longest = min(predict.inline_bytes(lenient=lenient), self._longest_body)
            if length <= longest and headers.get("Content-Type") in _PLAIN_BODIES:
                return KnownHead("POST", "/predict", "predict", "", length, headers, lenient)
        return None

    def answer(self, known: KnownHead, body: bytes) -> bytes | None:
        """Return the whole answer in bytes; None if the middleware has to give it.

        A draining service closes connections with their answers, and a traced one needs a span:
        both are left to the middleware.
        """
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
            duration = time.perf_counter() - started
            self._rules.log(known.route, status, duration)
        finally:
            log_scope.reset(scope)
        self._rules.record(known.method, known.route, status, duration)
        self._rules.gate.record(duration)
        return answer

    def _answer(self, known: KnownHead, body: bytes, fields: dict[str, str]) -> tuple[int, bytes]:
        collected = base_headers(fields["request_id"])
        try:
            key, name = self._rules.identify(known.headers, known.scope)
            if name is not None:
                fields["key"] = name
            quota = self._rules.admit(key)
            if quota is not None:
                collected |= quota
            content, headers = self._handle(known, body)
            status, reason, own = 200, "OK", list(headers.items())
        except Exception as error:  # noqa: BLE001
            response = self._rules.answer_error(
                error, known.method, known.route, fields["request_id"]
            )
            assert isinstance(response.body, bytes)
            status, reason, content = response.status, response.reason, response.body
            own = list(response.headers.items())
        content, coding = compress(content, known.headers)
        common = all_headers(collected, known.headers, self._services.settings.http)
        return status, encode_response(status, reason, [*common, *own, *coding], content)

    def _handle(self, known: KnownHead, body: bytes) -> tuple[bytes, dict[str, str]]:
        """Return what the route's handler answers: body and headers."""
        services = self._services
        if known.method == "GET":
            return latest_body(services, known.symbol)
        job = predict.PredictJob(body, known.lenient, services.holder.current, services)
        return predict.answer(job)


FAST_PATH = web.AppKey("fast_path", FastPath)
