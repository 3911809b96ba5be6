"""The OpenAPI 3.1 document, from the models that validate and one table of routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import volsvc
from volsvc.web import schemas

_REF = "#/components/schemas/{model}"

SYMBOL = {
    "name": "symbol",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "maxLength": 64},
    "example": "BTC-USD",
}
LIMIT = {
    "name": "limit",
    "in": "query",
    "description": "How many rows at the most; bounded by features.history",
    "schema": {"type": "integer", "minimum": 1, "default": 100},
}


AT = {
    "name": "at",
    "in": "query",
    "description": "A time (RFC 3339): what served then?",
    "schema": {"type": "string"},
}
ENTRIES = {
    "name": "limit",
    "in": "query",
    "description": "How many entries at the most",
    "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50},
}
ONE_SYMBOL = {
    "name": "symbol",
    "in": "query",
    "description": "Scores of this symbol alone",
    "schema": {"type": "string", "maxLength": 64},
}


@dataclass(frozen=True, slots=True)
class Route:
    """What the document says of one route."""

    method: str
    path: str
    summary: str
    answer: type[BaseModel] | str
    body: type[BaseModel] | None = None
    parameters: Sequence[dict[str, Any]] = ()
    problems: Sequence[int] = ()
    also: int | None = None
    scope: str = "read"


ROUTES = (
    Route(
        "post",
        "/predict",
        "Forecast from posted rows",
        schemas.PredictResponse,
        body=schemas.PredictRequest,
        problems=(400, 408, 413, 422),
    ),
    Route("get", "/latest", "The newest of every symbol", schemas.AllLatestResponse),
    Route(
        "get",
        "/latest/{symbol}",
        "The newest features and forecasts of a symbol",
        schemas.LatestResponse,
        parameters=(SYMBOL,),
        problems=(404,),
    ),
    Route(
        "get",
        "/history/{symbol}",
        "The newest feature rows of a symbol, oldest first",
        schemas.HistoryResponse,
        parameters=(SYMBOL, LIMIT),
        problems=(404, 422),
    ),
    Route("get", "/health", "What works and what does not", schemas.HealthResponse, also=503),
    Route("get", "/health/live", "The event loop answers", schemas.HealthResponse),
    Route(
        "get",
        "/health/ready",
        "Started, and not draining",
        schemas.HealthResponse,
        problems=(503,),
    ),
    Route("get", "/version", "What serves, and which build", schemas.VersionResponse),
    Route("get", "/models", "What serves, and what stands by", schemas.ModelsResponse),
    Route(
        "put",
        "/models/active",
        "Serve a variant or a version from now on",
        schemas.ModelsResponse,
        body=schemas.ActivateRequest,
        problems=(400, 408, 409, 413, 422, 503),
        scope="admin",
    ),
    Route(
        "post",
        "/models/rollback",
        "Serve what served before",
        schemas.ModelsResponse,
        problems=(409,),
        scope="admin",
    ),
    Route(
        "get",
        "/models/history",
        "What served when, and why",
        schemas.ModelHistoryResponse,
        parameters=(AT, ENTRIES),
        problems=(422, 500),
    ),
    Route(
        "get",
        "/quality",
        "How our own forecasts turned out",
        schemas.QualityResponse,
        parameters=(ONE_SYMBOL,),
        problems=(404,),
    ),
    Route("get", "/metrics", "Prometheus metrics", "text/plain"),
    Route("get", "/openapi.json", "This document", "application/json"),
    Route("get", "/docs", "This document as a page", "text/html"),
)

_WORDS = {
    400: "The body is not JSON",
    404: "Not known",
    408: "Too slow",
    409: "Refused; what serves goes on",
    413: "Too large",
    422: "Not valid; `errors` points at each fault",
    500: "The service failed",
    503: "Not able to serve now",
}


def document() -> dict[str, Any]:
    """The whole document."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in _models()], ref_template=_REF
    )
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "volsvc",
            "version": volsvc.__version__,
            "description": "Real-time volatility forecasts for crypto markets.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }


def _models() -> list[type[BaseModel]]:
    found: dict[type[BaseModel], None] = {schemas.Problem: None}
    for route in ROUTES:
        for model in (route.body, route.answer):
            if isinstance(model, type):
                found[model] = None
    return list(found)


def _operation(route: Route) -> dict[str, Any]:
    responses = {"200": _content("OK", route.answer)}
    if route.also is not None:
        responses[str(route.also)] = _content(_WORDS[route.also], route.answer)
    for status in route.problems:
        responses[str(status)] = {
            "description": _WORDS[status],
            "content": {"application/problem+json": {"schema": _schema(schemas.Problem)}},
        }
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "x-scope": route.scope,
        "responses": responses,
    }
    if route.parameters:
        operation["parameters"] = list(route.parameters)
    if route.body is not None:
        content = {"application/json": {"schema": _schema(route.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _operation_id(route: Route) -> str:
    words = route.path.strip("/").replace("{", "by_").replace("}", "").replace(".", "_")
    return f"{route.method}_{words.replace('/', '_')}"


def _content(description: str, answer: type[BaseModel] | str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"description": description, "content": {answer: {}}}
    return {
        "description": description,
        "content": {"application/json": {"schema": _schema(answer)}},
    }


def _schema(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
