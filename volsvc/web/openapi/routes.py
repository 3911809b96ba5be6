"""The table of routes: the handler, the documentation and the scope of each.

The application, the access rules and the OpenAPI document all read this table, so a new route is
one row here. Handlers must not import this module: it imports all of them.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from aiohttp import web

from volsvc.config.http import Scope
from volsvc.domain import is_symbol
from volsvc.web.openapi import examples, parameters
from volsvc.web.openapi.document import build
from volsvc.web.openapi.route import Handler, Route
from volsvc.web.routes import drift, health, latest, models, pages, past, predict, service, stream
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
from volsvc.web.schemas.past import (
    EventsResponse,
    MinutesResponse,
    OutcomesResponse,
    TrackRecordResponse,
)
from volsvc.web.schemas.predict import PredictRequest, PredictResponse
from volsvc.web.tables import MEDIA_TYPES

NOT_MODIFIED = {304: "The caller's copy is current"}

# The same probes under the names that orchestrators and inference servers (KServe) use.
LIVE_PATHS = ("/health/live", "/livez", "/ping", "/v2/health/live")
READY_PATHS = ("/health/ready", "/readyz", "/v2/health/ready")


def _page(path: str, handler: Handler, summary: str) -> Route:
    return Route(
        "get", path, handler, summary, "text/html", scope=None, empty_responses=NOT_MODIFIED
    )


def _file(path: str, handler: Handler, summary: str, name: dict[str, Any]) -> Route:
    return Route(
        "get",
        path,
        handler,
        summary,
        "*/*",
        parameters=(name,),
        problems=(404,),
        scope=None,
        empty_responses=NOT_MODIFIED,
    )


PREDICTION_ROUTES = (
    Route(
        "post",
        "/predict",
        predict.predict,
        "Forecast from posted rows",
        PredictResponse,
        request=PredictRequest,
        parameters=(parameters.PREFER,),
        problems=(400, 408, 413, 415, 422),
        scope="predict",
        request_examples=examples.PREDICT,
        response_example=examples.PREDICTED,
    ),
    Route(
        "get",
        "/latest",
        latest.latest_all,
        "The newest features and forecasts of every symbol",
        AllLatestResponse,
        parameters=(parameters.MAX_AGE, parameters.IF_NONE_MATCH),
        problems=(422, 503),
        response_example={"ts": examples.LATEST["ts"], "symbols": [examples.LATEST]},
        empty_responses=NOT_MODIFIED,
    ),
    Route(
        "get",
        "/latest/{symbol}",
        latest.latest,
        "The newest features and forecasts of a symbol",
        LatestResponse,
        parameters=(parameters.SYMBOL, parameters.MAX_AGE, parameters.IF_NONE_MATCH),
        problems=(404, 422, 503),
        response_example=examples.LATEST,
        empty_responses=NOT_MODIFIED,
    ),
    Route(
        "get",
        "/history/{symbol}",
        latest.history,
        "The newest feature rows, forecasts and outcomes of a symbol; with a range or a step, its"
        " minutes from the store",
        HistoryResponse,
        or_response=MinutesResponse,
        formats=MEDIA_TYPES[1:],
        parameters=(
            parameters.SYMBOL,
            *(parameters.START, parameters.END, parameters.STEP, parameters.FIELDS),
            parameters.HISTORY_LIMIT,
            parameters.ACCEPT_ROWS,
        ),
        problems=(404, 406, 422, 503),
        response_example=examples.HISTORY,
    ),
    Route(
        "get",
        "/outcomes/{symbol}",
        past.past_outcomes,
        "The matured forecasts of a symbol with what came, from the store",
        OutcomesResponse,
        formats=MEDIA_TYPES[1:],
        parameters=(
            parameters.SYMBOL,
            *(parameters.START, parameters.END, parameters.HORIZON),
            parameters.OUTCOME_LIMIT,
            parameters.ACCEPT_ROWS,
        ),
        problems=(404, 406, 422, 503),
        response_example=examples.OUTCOMES,
    ),
    Route(
        "get",
        "/stream",
        stream.stream,
        "Forecasts, gaps, model changes and drift as Server-Sent Events",
        "text/event-stream",
        parameters=(
            parameters.STREAM_SYMBOLS,
            parameters.STREAM_LIMIT,
            parameters.LAST_EVENT_ID,
        ),
        problems=(422,),
        response_example=examples.STREAM,
    ),
)

SERVICE_ROUTES = (
    Route(
        "get",
        "/health",
        health.health,
        "The state of the service and of each of its parts",
        HealthResponse,
        also_status=503,
        scope=None,
        response_example=examples.HEALTH,
    ),
    *(
        Route(
            "get",
            path,
            health.live,
            "Liveness: the event loop answers",
            HealthResponse,
            scope=None,
        )
        for path in LIVE_PATHS
    ),
    *(
        Route(
            "get",
            path,
            health.ready,
            "Readiness: started, not draining, and no part has failed for good",
            HealthResponse,
            problems=(503,),
            scope=None,
        )
        for path in READY_PATHS
    ),
    Route(
        "get",
        "/health/startup",
        health.startup,
        "Startup: the service has started",
        HealthResponse,
        problems=(503,),
        scope=None,
    ),
    Route(
        "get",
        "/version",
        service.version,
        "The active model and the build",
        VersionResponse,
        response_example=examples.VERSION,
    ),
)

MODEL_ROUTES = (
    Route(
        "get",
        "/models",
        models.models,
        "The active model, and the models held ready",
        ModelsResponse,
    ),
    Route(
        "put",
        "/models/active",
        models.activate,
        "Activate a variant or a version of it",
        ModelsResponse,
        request=ActivateRequest,
        problems=(400, 408, 409, 413, 415, 422, 503),
        scope="admin",
        request_examples={"baseline": {"variant": "baseline"}},
    ),
    Route(
        "post",
        "/models/rollback",
        models.rollback,
        "Activate the previous model",
        ModelsResponse,
        problems=(400, 409),
        scope="admin",
    ),
    Route(
        "get",
        "/models/history",
        models.history,
        "The changes of the active model, with their reasons",
        ModelHistoryResponse,
        parameters=(parameters.AT, parameters.ENTRY_LIMIT),
        problems=(422,),
    ),
    Route(
        "get",
        "/quality",
        models.quality,
        "Live scores of the service's own forecasts",
        QualityResponse,
        parameters=(parameters.SCORES_SYMBOL,),
        problems=(404, 422),
    ),
    Route(
        "get",
        "/track-record",
        past.track_record,
        "The losses of the models by day, coverage and reliability, from the store",
        TrackRecordResponse,
        parameters=(parameters.RECORD_SYMBOL, parameters.HORIZON, parameters.RECORD_DAYS),
        problems=(404, 422, 503),
        response_example=examples.TRACK_RECORD,
    ),
    Route(
        "get",
        "/events",
        past.events,
        "Gaps, changes of the model and checks of drift, from the store",
        EventsResponse,
        formats=MEDIA_TYPES[1:],
        parameters=(
            *(parameters.RECORD_SYMBOL, parameters.EVENT_KIND),
            *(parameters.EVENT_START, parameters.EVENT_END, parameters.EVENT_LIMIT),
            parameters.ACCEPT_ROWS,
        ),
        problems=(404, 406, 422, 503),
        response_example=examples.EVENTS,
    ),
    Route("get", "/drift", drift.drift, "The result of the newest drift check", DriftResponse),
    Route(
        "get",
        "/drift/report",
        drift.drift_report,
        "The report of the newest drift check, as a page",
        "text/html",
        problems=(404,),
    ),
)

DOCUMENT_ROUTES = (
    Route(
        "get",
        "/metrics",
        service.metrics,
        "Prometheus metrics",
        "text/plain",
        parameters=(parameters.METRIC_NAMES,),
    ),
    Route(
        "get",
        "/problems/{slug}",
        service.problem_type,
        "The meaning of a problem type, and its remedy",
        ProblemKind,
        parameters=(parameters.PROBLEM_SLUG,),
        problems=(404,),
        scope=None,
    ),
    Route(
        "get",
        "/openapi.json",
        pages.openapi_json,
        "This document",
        "application/json",
        scope=None,
    ),
    _page("/docs", pages.docs_page, "This document as a page"),
    _file(
        "/docs/assets/{name}",
        pages.docs_asset,
        "A file of the documentation page",
        parameters.DOCS_FILE,
    ),
    _page("/", pages.live_page, "The live page"),
    _file("/assets/{name}", pages.live_page_asset, "A file of the live page", parameters.PAGE_FILE),
)

# In the order in which the OpenAPI document shows them.
ROUTES = (
    *PREDICTION_ROUTES,
    *SERVICE_ROUTES,
    *MODEL_ROUTES,
    *DOCUMENT_ROUTES,
)

_SCOPES = {(route.method.upper(), route.path): route.scope for route in ROUTES}
_PATHS = frozenset(route.path for route in ROUTES)
_OF_SYMBOL = tuple(path.removesuffix("{symbol}") for path in _PATHS if path.endswith("{symbol}"))
# Of the mistakes that `nearest_path` finds.
PATH_RULES = "Paths have no slash at the end, and one inside a symbol is written as %2F."
_STREAMS = frozenset(route.path for route in ROUTES if route.response == "text/event-stream")


def scope_of(request: web.Request) -> Scope | None:
    """Return the scope that a request needs; None if it needs no key."""
    resource = request.match_info.route.resource
    # An unknown path is answered 404 with or without a key, and files of pages are public.
    if resource is None or isinstance(resource, web.StaticResource):
        return None
    method = "GET" if request.method == "HEAD" else request.method
    # A route that is missing from the table is closed, not open.
    return _SCOPES.get((method, resource.canonical), "admin")


def nearest_path(path: str) -> str | None:
    """Return the path that was meant by one that no route has; None if there is none so near."""
    trimmed = path.rstrip("/")
    if trimmed in _PATHS:
        return trimmed
    for prefix in _OF_SYMBOL:
        symbol = trimmed.removeprefix(prefix)
        if symbol != trimmed and is_symbol(symbol):
            return prefix + quote(symbol, safe="")
    return None


def is_stream(path: str) -> bool:
    """Return True if the route with this path template answers with an endless stream."""
    return path in _STREAMS


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return build(ROUTES)
