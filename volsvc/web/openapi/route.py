"""A row of the table of routes, and the parameters that its documentation lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from volsvc.config.http import Scope

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """A route: its handler, its documentation, and the scope that a key needs for it.

    `response` is the schema of a 200 answer, or its media type if that is not JSON, and
    `also_status` another status with the same body. `or_response` is another schema that the answer
    may have, and `formats` are media types in which its rows come if they are asked for. `problems`
    are statuses answered with problem details, `empty_responses` those without a body, with their
    meaning. A `scope` of None opens the route to callers without a key.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    response: type[BaseModel] | str
    request: type[BaseModel] | None = None
    parameters: Sequence[dict[str, Any]] = ()
    problems: Sequence[int] = ()
    or_response: type[BaseModel] | None = None
    formats: Sequence[str] = ()
    also_status: int | None = None
    scope: Scope | None = "read"
    request_examples: Mapping[str, Any] = field(default_factory=dict)
    response_example: Any = None
    empty_responses: Mapping[int, str] = field(default_factory=dict)


def path_parameter(name: str, example: str, **bounds: int) -> dict[str, Any]:
    """Return a parameter that is a part of the path: a string of at least one character."""
    schema = {"type": "string", "minLength": 1, **bounds}
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def query_parameter(
    name: str, description: str, schema: Mapping[str, Any], example: Any = None
) -> dict[str, Any]:
    """Return a query parameter."""
    shown = {} if example is None else {"example": example}
    return {"name": name, "in": "query", "description": description, "schema": schema, **shown}


def header_parameter(name: str, description: str, example: str) -> dict[str, Any]:
    """Return a request header."""
    schema = {"type": "string"}
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": schema,
        "example": example,
    }
