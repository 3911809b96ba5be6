"""Around every request: an id, the door, a time limit, a metric, and errors as problems."""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from volsvc.telemetry.logs import log_scope
from volsvc.telemetry.tracing import OFF, TRACEPARENT
from volsvc.web.admission import Gate
from volsvc.web.auth.access import Access
from volsvc.web.auth.browser import preflight, refuse_forgery
from volsvc.web.auth.rate_limit import quota_headers
from volsvc.web.compression import compress
from volsvc.web.headers import ANSWER_HEADERS, add_headers
from volsvc.web.openapi.routes import is_stream, scope_of
from volsvc.web.problems import new_request_id, problem_of, problem_response
from volsvc.web.server.connection import Connection
from volsvc.web.server.wire import REQUEST_ID, SAFE, log_request
from volsvc.web.services import Services

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Around:
    """Serves a request with everything that all requests share."""

    def __init__(self, services: Services, gate: Gate, access: Access) -> None:
        self._services = services
        self._gate = gate
        self._access = access
        self._http = services.settings.http
        self._active = 0
        services.metrics.active_requests.set_function(lambda: self._active)

    @web.middleware
    async def serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The middleware."""
        about = _About(request)
        # A request that waited for its turn took that long for its client.
        started = about.connection.arrived_s
        self._gate.came(about.connection)
        request[ANSWER_HEADERS] = {REQUEST_ID: about.request_id, **SAFE}
        scope = log_scope.set(about.fields)
        self._active += 1
        route = _route(request)
        try:
            with self._span(request, route):
                response = await self._answer(request, handler, about, route)
            took = time.perf_counter() - started
            log_request(route, response.status, took)
        finally:
            self._active -= 1
            self._gate.left(about.connection)
            log_scope.reset(scope)
        if not is_stream(route):
            # A stream's life is not the time that somebody waited for an answer.
            method = request.method if request.method in _METHODS else "_OTHER"
            self._services.metrics.time_request(method, route, response.status).observe(took)
        if self._services.health.draining:
            # A kept-alive connection would be cut at the end of the drain, with a request on it.
            response.force_close()
        if not response.prepared:
            add_headers(request, response, self._http)
        return compress(request, response)

    def _span(self, request: web.Request, route: str) -> AbstractContextManager[Any]:
        """The span of a request, which goes on with its caller's trace."""
        tracer = self._services.tracer
        if tracer is OFF:
            return tracer.span("")
        parent = request.headers.get(TRACEPARENT, "")
        return tracer.span(
            f"{request.method} {route}" if request.method in _METHODS else "HTTP",
            "server",
            {"http.request.method": request.method, "http.route": route},
            parent if _TRACEPARENT.fullmatch(parent) else None,
        )

    async def _answer(
        self, request: web.Request, handler: Handler, about: _About, route: str
    ) -> web.StreamResponse:
        try:
            early = preflight(request, self._http)
            if early is not None:
                return early
            self._enter(request, about)
            if is_stream(route):
                return await handler(request)
            limit_s = self._http.request_timeout_s
            started = time.perf_counter()
            response = await about.connection.within(limit_s, handler(request))
            self._gate.took(time.perf_counter() - started)
            return response
        except web.HTTPException as error:
            if error.status < 400:
                raise
            problem = problem_of(error, request.method, route)
        except Exception as error:  # noqa: BLE001
            problem = problem_of(error, request.method, route)
        return problem_response(problem, about.request_id)

    def _enter(self, request: web.Request, about: _About) -> None:
        """Past the door; raises ProblemError when the caller may not, or not now."""
        scope = scope_of(request)
        if scope is None:
            return
        if scope == "admin":
            refuse_forgery(request, self._http, keyless=self._services.keyring.open)
        key = self._access.identify(request.headers, scope)
        about.key = None if self._services.keyring.open else key.name
        self._gate.check(request.protocol)
        quota = self._access.spend(key)
        if quota is not None:
            request[ANSWER_HEADERS].update(quota_headers(quota))


class _About:
    """A request's connection and id, and what the log says with each of its events."""

    __slots__ = ("_request", "connection", "key", "request_id")

    def __init__(self, request: web.Request) -> None:
        assert isinstance(request.protocol, Connection), "every request comes to our own server"
        self.connection = request.protocol
        given = request.headers.get(REQUEST_ID)
        taken = given is not None and _REQUEST_ID.fullmatch(given)
        self.request_id = given if given and taken else new_request_id()
        self.key: str | None = None
        self._request = request

    def fields(self) -> dict[str, str]:
        """The request's id, trace, symbol and caller, as far as there are any."""
        trace = _TRACEPARENT.fullmatch(self._request.headers.get(TRACEPARENT, ""))
        found = {
            "request_id": self.request_id,
            "trace_id": trace and trace[1],
            "symbol": self._request.match_info.get("symbol", "")[:64],
            "key": self.key,
        }
        return {name: value for name, value in found.items() if value}


def _route(request: web.Request) -> str:
    """The route's template: raw paths as labels would be a series for every typo."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "__unmatched__"
