"""Base classes and field types of all schemas, and the problem that errors are told as."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]


Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]


Time = Annotated[str, Field(description="RFC 3339, UTC", examples=["2026-04-06T15:02:34.590Z"])]


def to_whole(value: Any) -> Any:
    """JSON knows one kind of number: 50.0 is the whole number 50."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Request(BaseModel):
    """A request body: unknown fields and wrong types are errors."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answer(BaseModel):
    """A response body."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", protected_namespaces=())


class ErrorItem(Answer):
    """One fault of a request, with the place it stands at (RFC 6901)."""

    pointer: str
    detail: str


class Problem(Answer):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[ErrorItem] = []


class ProblemKind(Answer):
    """A kind of problem: what `type` of a problem leads to."""

    type: str
    title: str
    status: int
    remedy: str
