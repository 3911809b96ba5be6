"""Builder of the OpenAPI 3.1 document, from the table of routes and the pydantic schemas.

The schemas of requests are the models that validate them, so the document cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import volsvc
from volsvc.web.openapi.route import Route
from volsvc.web.problem_types import PROBLEM_TYPES, ProblemType
from volsvc.web.schemas.base import Problem

_REF = "#/components/schemas/{model}"
# Statuses of every route that needs a key, and of every route.
_SCOPED_STATUSES = (401, 403, 429)
_COMMON_STATUSES = (500,)

_DESCRIPTIONS = {
    400: "The body is not valid JSON, or the request not valid HTTP",
    401: "A valid API key is required",
    403: "The key lacks the scope, or a page of another site sent the request",
    404: "Not found",
    406: "None of the accepted formats is offered",
    408: "The request took too long",
    409: "Refused; the active model stays in service",
    413: "The request body is too large",
    415: "The request body is not declared as JSON, or has an unknown content coding",
    422: "The request is not valid; `errors` points to each error",
    429: "Quota exhausted (`rate-limited`), or service busy (`overloaded`)",
    500: "Internal error",
    503: "Not available now",
}
_RETRY = {
    "schema": {"type": "integer", "minimum": 1},
    "description": "Seconds to wait before another attempt",
}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "required": True}},
    429: {"Retry-After": {**_RETRY, "required": True}},
    503: {"Retry-After": _RETRY},
}

_LINK = {
    "schema": {"type": "string"},
    "description": 'The next page, with rel="next"; missing on the last one',
}

_DESCRIPTION = """\
Real-time volatility forecasts for crypto markets.

GET routes also answer HEAD. Errors are `application/problem+json` (RFC 9457), whose `type` links to
an explanation. If the service requires keys, send one as `Authorization: Bearer KEY` or
`X-API-Key: KEY`; each route names the scope that the key needs."""

_SECURITY = {
    "bearerAuth": {"type": "http", "scheme": "bearer", "description": "An API key"},
    "apiKeyAuth": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def build(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of these routes."""
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
    """Return the schemas of all bodies, each once, in the order of the routes."""
    found: dict[type[BaseModel], None] = {Problem: None}
    for route in routes:
        for model in (route.request, route.response, route.or_response):
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
        operation["description"] = f"Requires the scope `{route.scope}`."
    if route.parameters:
        operation["parameters"] = list(route.parameters)
    if route.request is not None:
        content: dict[str, Any] = {"schema": _schema(route.request)}
        if route.request_examples:
            examples = route.request_examples.items()
            content["examples"] = {name: {"value": example} for name, example in examples}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def _responses(route: Route) -> dict[str, Any]:
    responses = {"200": _content("OK", route)}
    if route.also_status is not None:
        description = _DESCRIPTIONS[route.also_status]
        responses[str(route.also_status)] = _content(description, route)
    for status, meaning in route.empty_responses.items():
        responses[str(status)] = {"description": meaning}
    scoped = _SCOPED_STATUSES if route.scope else ()
    # What a header may not hold is no HTTP.
    with_header = (400,) if any(one["in"] == "header" for one in route.parameters) else ()
    for status in sorted({*route.problems, *scoped, *with_header, *_COMMON_STATUSES}):
        responses[str(status)] = _problem(status)
    return responses


def _problem(status: int) -> dict[str, Any]:
    types = [found for found in PROBLEM_TYPES.values() if found.status == status]
    content = {
        "schema": _schema(Problem),
        "examples": {found.slug: {"value": _example(found)} for found in types},
    }
    response = {
        "description": _DESCRIPTIONS[status],
        "content": {"application/problem+json": content},
    }
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response


def _example(problem_type: ProblemType) -> dict[str, Any]:
    example: dict[str, Any] = {
        "type": f"/problems/{problem_type.slug}",
        "title": problem_type.title,
        "status": problem_type.status,
        "detail": problem_type.title.lower(),
        "instance": "urn:request:0d5c7e1f4b6a4c0f9a3e2b1d8c7f6a5e",
        "request_id": "0d5c7e1f4b6a4c0f9a3e2b1d8c7f6a5e",
    }
    if problem_type.status == 422:
        error = {"pointer": "#/rows/3/ret_std", "detail": "must be >= 0"}
        example |= {"detail": " ".join(error.values()), "errors": [error]}
    return example


def _operation_id(route: Route) -> str:
    words = route.path.strip("/").replace("{", "by_").replace("}", "").replace(".", "_")
    return f"{route.method}_{words.replace('/', '_') or 'root'}"


def _content(description: str, route: Route) -> dict[str, Any]:
    example = route.response_example
    shown = {} if example is None else {"example": example}
    if isinstance(route.response, str):
        return {"description": description, "content": {route.response: shown}}
    schema: dict[str, Any] = _schema(route.response)
    if route.or_response is not None:
        schema = {"anyOf": [schema, _schema(route.or_response)]}
    content = {"application/json": {"schema": schema, **shown}}
    if not route.formats:
        return {"description": description, "content": content}
    content |= {media: {} for media in route.formats}
    return {"description": description, "headers": {"Link": _LINK}, "content": content}


def _schema(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
