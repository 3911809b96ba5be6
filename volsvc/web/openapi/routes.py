"""The table of routes: what the document says of each, and which scope it needs.

A new route is one row here and one handler in `app`. A route without a row needs `admin`, so that
what was forgotten is closed and not open.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from volsvc.config.http import Scope
from volsvc.web.openapi import examples
from volsvc.web.openapi.document import build
from volsvc.web.openapi.route import Route, header, in_path, query
from volsvc.web.schemas.base import ProblemKind
from volsvc.web.schemas.drift import DriftResponse
from volsvc.web.schemas.live import (
    AllLatestResponse,
    HealthResponse,
    HistoryResponse,
    LatestResponse,
    VersionResponse,
)
from volsvc.web.schemas.models import (
    ActivateRequest,
    ModelHistoryResponse,
    ModelsResponse,
    QualityResponse,
)
from volsvc.web.schemas.predict import PredictRequest, PredictResponse

MOST_ROWS = 1_000_000

SYMBOL = in_path("symbol", "BTC-USD", maxLength=64)
LIMIT = query(
    "limit",
    "How many rows, forecasts and outcomes at the most; each is bounded by features.history",
    {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": 100},
    5,
)
MAX_AGE = query(
    "max_age", "503 when the answer is older than these seconds", {"type": "number", "minimum": 0}
)
IF_NONE_MATCH = header(
    "If-None-Match", "The ETag of an answer that the caller has", 'W/"00f1a2b3c4d5e6f708091a2b"'
)
PREFER = header(
    "Prefer",
    "`handling=lenient`: faulty rows do not refuse the others",
    "handling=strict",
)
LAST_EVENT_ID = header("Last-Event-ID", "The id of the last event that was seen", "5f3a9c01-1207")
SYMBOLS = query(
    "symbols",
    "Only these, with commas",
    {"type": "string", "minLength": 1, "maxLength": 4096, "pattern": "^[A-Za-z0-9]"},
    "BTC-USD,ETH-USD",
)
EVENTS = query(
    "limit",
    "End after so many events; without it the stream does not end",
    {"type": "integer", "minimum": 1, "maximum": 1_000_000},
    1,
)
SLUG = in_path("slug", "overloaded")
NAME = in_path("name", "start.js")
AT = query("at", "A time (RFC 3339): what served then?", {"type": "string", "format": "date-time"})
ENTRIES = query(
    "limit",
    "How many entries at the most",
    {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 50},
)
ONE_SYMBOL = query("symbol", "Scores of this symbol alone", {"type": "string", "maxLength": 64})
NAMES = query(
    "name[]",
    "Only these series",
    {"type": "array", "items": {"type": "string"}},
)
UNCHANGED = {304: "What the caller has is the newest"}

LIVE_PATHS = ("/health/live", "/livez", "/ping", "/v2/health/live")
READY_PATHS = ("/health/ready", "/readyz", "/v2/health/ready")

ROUTES = (
    Route(
        "post",
        "/predict",
        "Forecast from posted rows",
        PredictResponse,
        body=PredictRequest,
        parameters=(PREFER,),
        problems=(400, 408, 413, 415, 422),
        scope="predict",
        examples=examples.PREDICT,
        shown=examples.PREDICTED,
    ),
    Route(
        "get",
        "/latest",
        "The newest of every symbol",
        AllLatestResponse,
        parameters=(MAX_AGE, IF_NONE_MATCH),
        problems=(422, 503),
        shown={"ts": examples.LATEST["ts"], "symbols": [examples.LATEST]},
        bare=UNCHANGED,
    ),
    Route(
        "get",
        "/latest/{symbol}",
        "The newest features and forecasts of a symbol",
        LatestResponse,
        parameters=(SYMBOL, MAX_AGE, IF_NONE_MATCH),
        problems=(404, 422, 503),
        shown=examples.LATEST,
        bare=UNCHANGED,
    ),
    Route(
        "get",
        "/history/{symbol}",
        "The newest feature rows, forecasts and outcomes of a symbol, oldest first",
        HistoryResponse,
        parameters=(SYMBOL, LIMIT),
        problems=(404, 422),
        shown=examples.HISTORY,
    ),
    Route(
        "get",
        "/stream",
        "Forecasts, gaps, model changes and drift as Server-Sent Events",
        "text/event-stream",
        parameters=(SYMBOLS, EVENTS, LAST_EVENT_ID),
        problems=(422,),
        shown=examples.STREAM,
    ),
    Route(
        "get",
        "/health",
        "What works and what does not",
        HealthResponse,
        also=503,
        scope=None,
        shown=examples.HEALTH,
    ),
    *(
        Route("get", path, "The event loop answers", HealthResponse, scope=None)
        for path in LIVE_PATHS
    ),
    *(
        Route(
            "get",
            path,
            "Started, and not draining",
            HealthResponse,
            problems=(503,),
            scope=None,
        )
        for path in READY_PATHS
    ),
    Route(
        "get",
        "/health/startup",
        "It has started",
        HealthResponse,
        problems=(503,),
        scope=None,
    ),
    Route(
        "get",
        "/version",
        "What serves, and which build",
        VersionResponse,
        shown=examples.VERSION,
    ),
    Route("get", "/models", "What serves, and what stands by", ModelsResponse),
    Route(
        "put",
        "/models/active",
        "Serve a variant or a version from now on",
        ModelsResponse,
        body=ActivateRequest,
        problems=(400, 408, 409, 413, 422, 503),
        scope="admin",
        examples={"baseline": {"variant": "baseline"}},
    ),
    Route(
        "post",
        "/models/rollback",
        "Serve what served before",
        ModelsResponse,
        problems=(409,),
        scope="admin",
    ),
    Route(
        "get",
        "/models/history",
        "What served when, and why",
        ModelHistoryResponse,
        parameters=(AT, ENTRIES),
        problems=(422,),
    ),
    Route(
        "get",
        "/quality",
        "How our own forecasts turned out",
        QualityResponse,
        parameters=(ONE_SYMBOL,),
        problems=(404, 422),
    ),
    Route("get", "/drift", "What the newest check of drift found", DriftResponse),
    Route("get", "/drift/report", "Its report as a page", "text/html", problems=(404,)),
    Route("get", "/metrics", "Prometheus metrics", "text/plain", parameters=(NAMES,)),
    Route(
        "get",
        "/problems/{slug}",
        "What a kind of problem means",
        ProblemKind,
        parameters=(SLUG,),
        problems=(404,),
        scope=None,
    ),
    Route("get", "/openapi.json", "This document", "application/json", scope=None),
    Route("get", "/docs", "This document as a page", "text/html", scope=None, bare=UNCHANGED),
    Route(
        "get",
        "/docs/assets/{name}",
        "A file of that page",
        "*/*",
        parameters=(NAME,),
        problems=(404,),
        scope=None,
        bare=UNCHANGED,
    ),
    Route("get", "/", "The live page", "text/html", scope=None, bare=UNCHANGED),
    Route(
        "get",
        "/assets/{name}",
        "A file of that page",
        "*/*",
        parameters=({**NAME, "example": "main.js"},),
        problems=(404,),
        scope=None,
        bare=UNCHANGED,
    ),
)

_SCOPES = {(route.method.upper(), route.path): route.scope for route in ROUTES}
_STREAMS = frozenset(route.path for route in ROUTES if route.answer == "text/event-stream")


def scope_of(request: web.Request) -> Scope | None:
    """The scope that a request needs; None when it needs no key."""
    resource = request.match_info.route.resource
    if resource is None or isinstance(resource, web.StaticResource):
        # What is not there needs no key, and neither do the files of pages.
        return None
    method = "GET" if request.method == "HEAD" else request.method
    return _SCOPES.get((method, resource.canonical), "admin")


def is_stream(path: str) -> bool:
    """Whether the route of this template answers without end."""
    return path in _STREAMS


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return build(ROUTES)
