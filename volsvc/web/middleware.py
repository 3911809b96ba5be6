"""Around every request: an id, the door, a time limit, a metric, and errors as problems."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AbstractContextManager
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from volsvc.logs import get_logger
from volsvc.tracing import OFF, TRACEPARENT
from volsvc.web.admission import GATE
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
from volsvc.web.services import SERVICES, Services

ACCESS = web.AppKey("access", Access)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_EXTRA = web.RequestKey("extra_headers", dict[str, str])

log = get_logger(__name__)


@web.middleware
async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Serve a request with everything that all requests share."""
    services = request.app[SERVICES]
    # A request that waited for its turn took that long for its client.
    started = getattr(request.protocol, "arrived_s", None) or time.perf_counter()
    gate = request.app[GATE]
    gate.came(request.protocol)
    request_id = _request_id(request)
    request[_EXTRA] = {"X-Request-ID": request_id, "X-Content-Type-Options": "nosniff"}
    bound = {"request_id": request_id, **_trace(request), **_symbol(request)}
    services.metrics.active_requests.inc()
    with structlog.contextvars.bound_contextvars(**bound):
        try:
            with _span(request, services):
                response = await _answer(request, handler, request_id)
        finally:
            services.metrics.active_requests.dec()
            gate.left(request.protocol)
        took = time.perf_counter() - started
        route = _route(request)
        log.debug("request", route=route, status=response.status, duration_ms=took * 1e3)
    if not is_stream(route):
        # A stream's life is not the time that somebody waited for an answer.
        method = request.method if request.method in _METHODS else "_OTHER"
        services.metrics.request_duration.labels(method, route, response.status).observe(took)
    if services.health.draining:
        # A kept-alive connection would be cut at the end of the drain, with a request on it.
        response.force_close()
    return compress(request, response)


def _span(request: web.Request, services: Services) -> AbstractContextManager[Any]:
    """The span of a request, which goes on with its caller's trace."""
    if services.tracer is OFF:
        return services.tracer.span("")
    route = _route(request)
    parent = request.headers.get(TRACEPARENT, "")
    return services.tracer.span(
        f"{request.method} {route}" if request.method in _METHODS else "HTTP",
        "server",
        {"http.request.method": request.method, "http.route": route},
        parent if _TRACEPARENT.fullmatch(parent) else None,
    )


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """The headers that every answer has, just before it is sent."""
    for name, value in request.get(_EXTRA, {}).items():
        response.headers[name] = value
    for name, value in cors_headers(request, request.app[SERVICES].settings.http).items():
        response.headers.add(name, value)


async def _answer(request: web.Request, handler: Handler, request_id: str) -> web.StreamResponse:
    services = request.app[SERVICES]
    try:
        early = preflight(request, services.settings.http)
        if early is not None:
            return early
        _enter(request, services)
        limit_s = services.settings.http.request_timeout_s
        async with asyncio.timeout(None if is_stream(_route(request)) else limit_s):
            started = time.perf_counter()
            response = await handler(request)
            request.app[GATE].took(time.perf_counter() - started)
            return response
    except web.HTTPException as error:
        if error.status < 400:
            raise
        problem = as_problem(error)
    except Exception as error:
        problem = as_problem(error)
        if problem is None:
            log.exception("request_failed", route=_route(request), method=request.method)
            problem = ProblemError(INTERNAL, "an unexpected error; the log has its request id")
    assert problem is not None, "every HTTPException of 400 and above is a problem"
    return problem_response(problem, request_id)


def _enter(request: web.Request, services: Services) -> None:
    """Past the door; raises ProblemError when the caller may not, or not now."""
    scope = scope_of(request)
    if scope is None:
        return
    access = request.app[ACCESS]
    if scope == "admin":
        refuse_forgery(request, services.settings.http, keyless=services.keyring.open)
    key = access.identify(request, scope)
    if not services.keyring.open:
        structlog.contextvars.bind_contextvars(key=key.name)
    request.app[GATE].check(request.protocol)
    quota = access.spend(key)
    if quota is not None:
        request[_EXTRA].update(quota_headers(quota))


def _request_id(request: web.Request) -> str:
    given = request.headers.get("X-Request-ID", "")
    return given if _REQUEST_ID.fullmatch(given) else new_request_id()


def _trace(request: web.Request) -> dict[str, str]:
    match = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    return {"trace_id": match[1]} if match else {}


def _symbol(request: web.Request) -> dict[str, str]:
    symbol = request.match_info.get("symbol")
    return {} if symbol is None else {"symbol": symbol[:64]}


def _route(request: web.Request) -> str:
    """The route's template: raw paths as labels would be a series for every typo."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "__unmatched__"
