"""Base classes and field types of the schemas, and the schemas of problem details."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Time = Annotated[
    str,
    Field(
        description="RFC 3339, UTC",
        examples=["2026-04-06T15:02:34.590Z"],
        json_schema_extra={"format": "date-time"},
    ),
]


def integral_to_int(value: Any) -> Any:
    """Return a float without a fraction as an int, and anything else as it is."""
    # JSON has a single number type: writers of some languages send 50.0 for the integer 50.
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Request(BaseModel):
    """Base of request bodies: unknown fields and wrong types are errors."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answer(BaseModel):
    """Base of response bodies."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", protected_namespaces=())


class ErrorItem(Answer):
    """One error of a request, with a JSON pointer (RFC 6901) to its location."""

    pointer: str
    detail: str


class Problem(Answer):
    """Problem details of an error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[ErrorItem] = []


class ProblemKind(Answer):
    """A problem type: the resource that `type` of a problem links to."""

    type: str
    title: str
    status: int
    remedy: str
