"""Around every request: an id, a time limit, a metric, and errors as problems."""

from __future__ import annotations

import asyncio
import re
import time
import uuid

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from volsvc.logs import get_logger
from volsvc.web.problems import INTERNAL, ProblemError, as_problem, problem_response
from volsvc.web.services import SERVICES

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})

log = get_logger(__name__)


@web.middleware
async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Serve a request with everything that all requests share."""
    services = request.app[SERVICES]
    started = time.perf_counter()
    request_id = _request_id(request)
    bound = {"request_id": request_id, **_trace(request), **_symbol(request)}
    services.metrics.active_requests.inc()
    with structlog.contextvars.bound_contextvars(**bound):
        try:
            response = await _answer(request, handler, request_id)
        finally:
            services.metrics.active_requests.dec()
        took = time.perf_counter() - started
        route = _route(request)
        log.debug("request", route=route, status=response.status, duration_ms=took * 1e3)
    method = request.method if request.method in _METHODS else "_OTHER"
    services.metrics.request_duration.labels(method, route, response.status).observe(took)
    response.headers["X-Request-ID"] = request_id
    if services.health.draining:
        # A kept-alive connection would be cut at the end of the drain, with a request on it.
        response.force_close()
    return response


async def _answer(request: web.Request, handler: Handler, request_id: str) -> web.StreamResponse:
    try:
        async with asyncio.timeout(request.app[SERVICES].settings.http.request_timeout_s):
            return await handler(request)
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


def _request_id(request: web.Request) -> str:
    given = request.headers.get("X-Request-ID", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


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
