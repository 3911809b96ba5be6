"""Errors as `application/problem+json` (RFC 9457): the one place where errors get a status."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from volsvc.domain import UnknownSymbolError, VolsvcError
from volsvc.journal import JournalError
from volsvc.models import ModelError
from volsvc.models.control import ModelRefusedError
from volsvc.models.remote import RegistryAwayError


class Kind(NamedTuple):
    """A kind of problem: the slug of its type, its status and its title."""

    slug: str
    status: int
    title: str


INVALID_JSON = Kind("invalid-json", 400, "The body is not valid JSON")
UNKNOWN_SYMBOL = Kind("unknown-symbol", 404, "No such symbol")
NOT_FOUND = Kind("not-found", 404, "No such route")
METHOD = Kind("method-not-allowed", 405, "The route does not take this method")
TIMEOUT = Kind("request-timeout", 408, "The request took too long")
TOO_LARGE = Kind("payload-too-large", 413, "The body is too large")
INVALID = Kind("validation-failed", 422, "The request is not valid")
REFUSED = Kind("model-refused", 409, "The model must not serve")
INTERNAL = Kind("internal-error", 500, "The service failed")
NOT_READY = Kind("not-ready", 503, "The service is not ready")
JOURNAL = Kind("journal-broken", 500, "The journal is broken")
AWAY = Kind("registry-away", 503, "The registry does not answer")
MODEL_FAILED = Kind("model-failed", 503, "No model gave an answer")
KINDS = (
    REFUSED,
    JOURNAL,
    AWAY,
    MODEL_FAILED,
    INVALID_JSON,
    UNKNOWN_SYMBOL,
    NOT_FOUND,
    METHOD,
    TIMEOUT,
    TOO_LARGE,
    INVALID,
    INTERNAL,
    NOT_READY,
)
_BY_STATUS = {404: NOT_FOUND, 405: METHOD, 413: TOO_LARGE, 408: TIMEOUT}

_OURS: dict[type[VolsvcError], Kind] = {
    UnknownSymbolError: UNKNOWN_SYMBOL,
    ModelRefusedError: REFUSED,
    RegistryAwayError: AWAY,
    ModelError: MODEL_FAILED,
    JournalError: JOURNAL,
}

MAX_ERRORS = 100
"""Faults listed in an answer; a body of 10,000 bad rows needs no answer of megabytes."""


class ProblemError(Exception):
    """A problem that a handler wants to answer with."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = errors or []
        self.headers = headers or {}


def as_problem(error: Exception) -> ProblemError | None:
    """The problem behind an error that a request may cause; None for a failure of ours."""
    if isinstance(error, ProblemError):
        return error
    for of, kind in _OURS.items():
        if isinstance(error, of):
            return ProblemError(kind, str(error))
    if isinstance(error, ValidationError):
        return _invalid(error)
    if isinstance(error, TimeoutError):
        return ProblemError(TIMEOUT, "the request was not complete in time")
    if isinstance(error, web.HTTPException) and error.status >= 400:
        kind = _BY_STATUS.get(error.status, Kind("http-error", error.status, error.reason))
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return ProblemError(kind, error.text or error.reason, headers=allow)
    return None


def problem_response(problem: ProblemError, request_id: str) -> web.Response:
    """The answer to a problem."""
    body: dict[str, Any] = {
        "type": f"/problems/{problem.kind.slug}",
        "title": problem.kind.title,
        "status": problem.kind.status,
        "detail": problem.detail,
        "instance": f"urn:request:{request_id}",
        "request_id": request_id,
    }
    if problem.errors:
        body["errors"] = problem.errors
    return web.Response(
        body=msgspec.json.encode(body),
        status=problem.kind.status,
        content_type="application/problem+json",
        headers=problem.headers,
    )


def _invalid(error: ValidationError) -> ProblemError:
    details = error.errors(include_url=False, include_context=False)
    if details[0]["type"] == "json_invalid":
        return ProblemError(INVALID_JSON, details[0]["msg"])
    errors = [{"pointer": _pointer(d), "detail": _sentence(d)} for d in details[:MAX_ERRORS]]
    first = errors[0]
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return ProblemError(INVALID, f"{first['pointer']} {first['detail']}{more}", errors)


def _pointer(detail: ErrorDetails) -> str:
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in detail["loc"]]
    return "#" + "".join(f"/{part}" for part in parts)


def _sentence(detail: ErrorDetails) -> str:
    known = {
        "extra_forbidden": "is not a known field",
        "missing": "is required",
        "finite_number": "must be a finite number",
    }
    message = detail["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    for words, sign in (
        ("greater than or equal to", ">="),
        ("less than or equal to", "<="),
        ("greater than", ">"),
        ("less than", "<"),
    ):
        message = message.replace(words, sign)
    return known.get(detail["type"], message[:1].lower() + message[1:])
