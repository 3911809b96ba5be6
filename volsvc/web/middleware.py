"""Around every request: an id, the door, a time limit, a metric, and errors as problems."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from volsvc.logs import get_logger, log_scope
from volsvc.tracing import OFF, TRACEPARENT
from volsvc.web.admission import Gate
from volsvc.web.auth import Access
from volsvc.web.browser import cors_headers, preflight, refuse_forgery
from volsvc.web.compression import compress
from volsvc.web.openapi import is_stream, scope_of
from volsvc.web.problems import (
    INTERNAL,
    ProblemError,
    as_problem,
    new_request_id,
    problem_response,
)
from volsvc.web.rate_limit import quota_headers
from volsvc.web.services import Services

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_EXTRA = web.RequestKey("extra_headers", dict[str, str])

log = get_logger(__name__)
_levels = logging.getLogger(__name__)


class Around:
    """Serves a request with everything that all requests share."""

    def __init__(self, services: Services, gate: Gate) -> None:
        self._services = services
        self._gate = gate
        self._access = Access(services.keyring, services.metrics)
        self._http = services.settings.http
        self._active = 0
        services.metrics.active_requests.set_function(lambda: self._active)
        self._durations = cache(services.metrics.request_duration.labels)

    @web.middleware
    async def serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The middleware."""
        # A request that waited for its turn took that long for its client.
        started = getattr(request.protocol, "arrived_s", None) or time.perf_counter()
        self._gate.came(request.protocol)
        about = _About(request)
        request[_EXTRA] = {
            "X-Request-ID": about.request_id,
            "X-Content-Type-Options": "nosniff",
        }
        scope = log_scope.set(about.fields)
        self._active += 1
        route = _route(request)
        try:
            with self._span(request, route):
                response = await self._answer(request, handler, about, route)
            took = time.perf_counter() - started
            if _levels.isEnabledFor(logging.DEBUG):
                log.debug("request", route=route, status=response.status, duration_ms=took * 1e3)
        finally:
            self._active -= 1
            self._gate.left(request.protocol)
            log_scope.reset(scope)
        if not is_stream(route):
            # A stream's life is not the time that somebody waited for an answer.
            method = request.method if request.method in _METHODS else "_OTHER"
            self._durations(method, route, response.status).observe(took)
        if self._services.health.draining:
            # A kept-alive connection would be cut at the end of the drain, with a request on it.
            response.force_close()
        return compress(request, response)

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """The headers that every answer has, just before it is sent."""
        response.headers.update(request.get(_EXTRA, ()))
        for name, value in cors_headers(request, self._http).items():
            response.headers.add(name, value)

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
            limit_s = self._http.request_timeout_s
            async with asyncio.timeout(None if is_stream(route) else limit_s):
                started = time.perf_counter()
                response = await handler(request)
                self._gate.took(time.perf_counter() - started)
                return response
        except web.HTTPException as error:
            if error.status < 400:
                raise
            problem = as_problem(error)
        except Exception as error:
            problem = as_problem(error)
            if problem is None:
                log.exception("request_failed", route=route, method=request.method)
                problem = ProblemError(INTERNAL, "an unexpected error; the log has its request id")
        assert problem is not None, "every HTTPException of 400 and above is a problem"
        return problem_response(problem, about.request_id)

    def _enter(self, request: web.Request, about: _About) -> None:
        """Past the door; raises ProblemError when the caller may not, or not now."""
        scope = scope_of(request)
        if scope is None:
            return
        if scope == "admin":
            refuse_forgery(request, self._http, keyless=self._services.keyring.open)
        key = self._access.identify(request, scope)
        about.key = None if self._services.keyring.open else key.name
        self._gate.check(request.protocol)
        quota = self._access.spend(key)
        if quota is not None:
            request[_EXTRA].update(quota_headers(quota))


class _About:
    """What the log says with every event of a request."""

    __slots__ = ("_request", "key", "request_id")

    def __init__(self, request: web.Request) -> None:
        given = request.headers.get("X-Request-ID")
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
