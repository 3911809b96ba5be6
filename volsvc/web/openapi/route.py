"""What the document says of one route, and who may use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from volsvc.config.http import Scope


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table of routes.

    `scope` is what a key must have, None for a route that everybody may use. `examples` of the
    body are by name; `shown` is an example of the answer.
    """

    method: str
    path: str
    summary: str
    answer: type[BaseModel] | str
    body: type[BaseModel] | None = None
    parameters: Sequence[dict[str, Any]] = ()
    problems: Sequence[int] = ()
    also: int | None = None
    scope: Scope | None = "read"
    examples: Mapping[str, Any] = field(default_factory=dict)
    shown: Any = None
    # Answers without a body, by status: what they mean.
    bare: Mapping[int, str] = field(default_factory=dict)


def in_path(name: str, example: str, **bounds: int) -> dict[str, Any]:
    """A parameter that is a part of the path, a string of at least a character."""
    schema = {"type": "string", "minLength": 1, **bounds}
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def query(
    name: str, description: str, schema: Mapping[str, Any], example: Any = None
) -> dict[str, Any]:
    """A query parameter."""
    shown = {} if example is None else {"example": example}
    return {"name": name, "in": "query", "description": description, "schema": schema, **shown}


def header(name: str, description: str, example: str) -> dict[str, Any]:
    """A request header."""
    schema = {"type": "string"}
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": schema,
        "example": example,
    }
