"""The middleware around every handler: id, access, time limit, metrics, and errors as problems."""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from volsvc.telemetry.logs import log_scope
from volsvc.telemetry.tracing import OFF, TRACEPARENT
from volsvc.web.auth.browser import preflight, refuse_forgery
from volsvc.web.compression import compress_response
from volsvc.web.headers import ANSWER_HEADERS, REQUEST_ID, add_headers, base_headers
from volsvc.web.openapi.routes import PATH_RULES, is_stream, nearest_path, scope_of
from volsvc.web.problem_types import NOT_FOUND
from volsvc.web.problems import ProblemError, new_request_id
from volsvc.web.server.connection import Connection
from volsvc.web.server.rules import RequestRules
from volsvc.web.services import Services

# Ids of callers go into headers and logs, so that only harmless characters are taken over.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# W3C Trace Context, version 00; ids of zeros alone are invalid there.
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# Other methods share one label: a caller must not be able to make up series.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Middleware:
    """Serves a request with everything that all requests share."""

    def __init__(self, services: Services, rules: RequestRules) -> None:
        self._services = services
        self._rules = rules
        self._http = services.settings.http
        self._active = 0
        services.metrics.http.active_requests.set_function(lambda: self._active)

    @web.middleware
    async def serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request: the function that aiohttp calls."""
        context = _RequestContext(request)
        # From the arrival of the head: a request that waited for its turn took that long too.
        started = context.connection.arrived_s
        self._rules.gate.enter(context.connection)
        request[ANSWER_HEADERS] = base_headers(context.request_id)
        scope = log_scope.set(context.fields)
        self._active += 1
        route = _route(request)
        try:
            with self._span(request, route):
                response = await self._answer(request, handler, context, route)
            duration = time.perf_counter() - started
            self._rules.log(route, response.status, duration)
        finally:
            self._active -= 1
            self._rules.gate.leave(context.connection)
            log_scope.reset(scope)
        if not is_stream(route):
            # A stream's life is not the time that somebody waited for an answer.
            method = request.method if request.method in _METHODS else "_OTHER"
            self._rules.record(method, route, response.status, duration)
        if self._services.health.draining:
            # A kept-alive connection would be cut at the end of the drain, with a request on it.
            response.force_close()
        if not response.prepared:
            add_headers(request, response, self._http)
        compress_response(request, response)
        return response

    def _span(self, request: web.Request, route: str) -> AbstractContextManager[Any]:
        """Return the span of a request, a child of its caller's span if there is one."""
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
        self, request: web.Request, handler: Handler, context: _RequestContext, route: str
    ) -> web.StreamResponse:
        try:
            early = preflight(request, self._http)
            if early is not None:
                return early
            self._admit(request, context)
            if is_stream(route):
                return await handler(request)
            limit_s = self._http.request_timeout_s
            started = time.perf_counter()
            response = await context.connection.within(limit_s, handler(request))
            self._rules.gate.record(time.perf_counter() - started)
            return response
        except Exception as error:
            if isinstance(error, web.HTTPException) and error.status < 400:
                raise  # A redirect is an answer, not a failure.
            if isinstance(error, web.HTTPNotFound) and (meant := nearest_path(request.path)):
                error = ProblemError(NOT_FOUND, f"did you mean {meant}? {PATH_RULES}")
            return self._rules.answer_error(error, request.method, route, context.request_id)

    def _admit(self, request: web.Request, context: _RequestContext) -> None:
        """Raise ProblemError if the caller may not, or not now, make this request."""
        scope = scope_of(request)
        if scope is None:
            return
        if scope == "admin":
            refuse_forgery(request, self._http, keyless=self._services.keyring.open)
        key, context.key = self._rules.identify(request.headers, scope)
        quota = self._rules.admit(key, waiting=request.protocol)
        if quota is not None:
            request[ANSWER_HEADERS] |= quota


class _RequestContext:
    """A request's connection and id, and the fields of all that is logged meanwhile."""

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
        """Return the request's id, trace, symbol and caller, as far as there are any."""
        trace = _TRACEPARENT.fullmatch(self._request.headers.get(TRACEPARENT, ""))
        found = {
            "request_id": self.request_id,
            "trace_id": trace and trace[1],
            # Cut: the path is the caller's, and as long as a head may be.
            "symbol": self._request.match_info.get("symbol", "")[:64],
            "key": self.key,
        }
        return {name: value for name, value in found.items() if value}


def _route(request: web.Request) -> str:
    """Return the route's template: raw paths as labels would be a series for every typo."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "__unmatched__"
