"""The OpenAPI 3.1 document, from the table of routes and the models that validate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import volsvc
from volsvc.web.openapi.route import Route
from volsvc.web.problems import KINDS, Kind
from volsvc.web.schemas.base import Problem

_REF = "#/components/schemas/{model}"
# What may come of every route that needs a key.
_GUARDED = (401, 403, 429)
_EVERYWHERE = (500,)

_WORDS = {
    400: "The body is not JSON, or the request not HTTP",
    401: "A valid key is needed",
    403: "The key lacks the scope, or the call comes from another site's page",
    404: "Not known",
    408: "Too slow",
    409: "Refused; what serves goes on",
    413: "Too large",
    415: "Not JSON",
    422: "Not valid; `errors` points at each fault",
    429: "The quota is used up (`rate-limited`), or too many requests have come (`overloaded`)",
    500: "The service failed",
    503: "Not able to serve now",
}
_RETRY = {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds to wait"}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "required": True}},
    429: {"Retry-After": {**_RETRY, "required": True}},
    503: {"Retry-After": _RETRY},
}

_DESCRIPTION = """\
Real-time volatility forecasts for crypto markets.

GET routes answer HEAD too. Errors are `application/problem+json` (RFC 9457) whose `type` leads to
an explanation. Where keys are configured, send one as `Authorization: Bearer KEY` or
`X-API-Key: KEY`; each route names the scope that the key must have."""

_SECURITY = {
    "bearerAuth": {"type": "http", "scheme": "bearer", "description": "An API key"},
    "apiKeyAuth": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def build(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole document."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in _models(routes)], ref_template=_REF
    )
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "volsvc",
            "version": volsvc.__version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": definitions["$defs"], "securitySchemes": _SECURITY},
    }


def _models(routes: Iterable[Route]) -> list[type[BaseModel]]:
    found: dict[type[BaseModel], None] = {Problem: None}
    for route in routes:
        for model in (route.body, route.answer):
            if isinstance(model, type):
                found[model] = None
    return list(found)


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "security": [{name: [route.scope]} for name in _SECURITY] if route.scope else [],
        "responses": _responses(route),
    }
    if route.scope:
        operation["description"] = f"Needs the scope `{route.scope}`."
    if route.parameters:
        operation["parameters"] = list(route.parameters)
    if route.body is not None:
        content: dict[str, Any] = {"schema": _schema(route.body)}
        if route.examples:
            content["examples"] = {name: {"value": v} for name, v in route.examples.items()}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def _responses(route: Route) -> dict[str, Any]:
    responses = {"200": _content("OK", route)}
    if route.also is not None:
        responses[str(route.also)] = _content(_WORDS[route.also], route)
    for status, meaning in route.bare.items():
        responses[str(status)] = {"description": meaning}
    guarded = _GUARDED if route.scope else ()
    for status in sorted({*route.problems, *guarded, *_EVERYWHERE}):
        responses[str(status)] = _problem(status)
    return responses


def _problem(status: int) -> dict[str, Any]:
    kinds = [kind for kind in KINDS.values() if kind.status == status]
    content = {
        "schema": _schema(Problem),
        "examples": {kind.slug: {"value": _example(kind)} for kind in kinds},
    }
    response = {
        "description": _WORDS[status],
        "content": {"application/problem+json": content},
    }
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response


def _example(kind: Kind) -> dict[str, Any]:
    example: dict[str, Any] = {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.title.lower(),
        "instance": "urn:request:0d5c7e1f4b6a4c0f9a3e2b1d8c7f6a5e",
        "request_id": "0d5c7e1f4b6a4c0f9a3e2b1d8c7f6a5e",
    }
    if kind.status == 422:
        fault = {"pointer": "#/rows/3/ret_std", "detail": "must be >= 0"}
        example |= {"detail": " ".join(fault.values()), "errors": [fault]}
    return example


def _operation_id(route: Route) -> str:
    words = route.path.strip("/").replace("{", "by_").replace("}", "").replace(".", "_")
    return f"{route.method}_{words.replace('/', '_') or 'root'}"


def _content(description: str, route: Route) -> dict[str, Any]:
    shown = {} if route.shown is None else {"example": route.shown}
    if isinstance(route.answer, str):
        return {"description": description, "content": {route.answer: shown}}
    content = {"schema": _schema(route.answer), **shown}
    return {"description": description, "content": {"application/json": content}}


def _schema(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
