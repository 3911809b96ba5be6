"""Problem details for HTTP errors (RFC 9457, `application/problem+json`).

The only place that maps exceptions to HTTP statuses.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
from aiohttp import web
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from volsvc.domain import UnknownSymbolError, VolsvcError
from volsvc.models import ModelError
from volsvc.serving.audit_log import AuditLogError
from volsvc.serving.controller import ModelRefusedError
from volsvc.serving.registry_client import RegistryAwayError
from volsvc.store import StoreError
from volsvc.telemetry.logs import get_logger
from volsvc.web.problem_types import (
    BAD_REQUEST,
    EXPECTATION_FAILED,
    INTERNAL_ERROR,
    INVALID_JSON,
    JOURNAL_BROKEN,
    METHOD_NOT_ALLOWED,
    MODEL_FAILED,
    MODEL_REFUSED,
    NOT_FOUND,
    NOT_READY,
    PAST_UNREADABLE,
    PAYLOAD_TOO_LARGE,
    REGISTRY_AWAY,
    REQUEST_TIMEOUT,
    UNKNOWN_SYMBOL,
    VALIDATION_FAILED,
    ProblemType,
)

log = get_logger(__name__)


# Types of the errors that aiohttp raises by itself.
_BY_STATUS = {
    problem_type.status: problem_type
    for problem_type in (
        BAD_REQUEST,
        NOT_FOUND,
        METHOD_NOT_ALLOWED,
        PAYLOAD_TOO_LARGE,
        REQUEST_TIMEOUT,
        EXPECTATION_FAILED,
    )
}

_BY_DOMAIN_ERROR: dict[type[VolsvcError], ProblemType] = {
    UnknownSymbolError: UNKNOWN_SYMBOL,
    ModelRefusedError: MODEL_REFUSED,
    RegistryAwayError: REGISTRY_AWAY,
    ModelError: MODEL_FAILED,
    AuditLogError: JOURNAL_BROKEN,
    StoreError: PAST_UNREADABLE,
}

# Errors of a client while its request is read: none of them is a failure of the service.
_TRANSFER_ERRORS: tuple[tuple[type[Exception], ProblemType, str], ...] = (
    (web.RequestPayloadError, BAD_REQUEST, "the body does not match the headers that encode it"),
    (ConnectionResetError, BAD_REQUEST, "the client disconnected before its request was complete"),
    (TimeoutError, REQUEST_TIMEOUT, "the request was not complete in time"),
)

# The most errors listed in one answer: 10,000 invalid rows would make an answer of megabytes.
MAX_ERRORS = 100


class ProblemError(Exception):
    """An error that is answered with problem details of the given type.

    `errors` are items of `error_item`; `headers` are added to the answer.
    """

    def __init__(
        self,
        problem_type: ProblemType,
        detail: str,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.type = problem_type
        self.detail = detail
        self.errors = errors or []
        self.headers = headers or {}


def not_ready(detail: str) -> ProblemError:
    """Return the problem of a service that is starting or draining."""
    return ProblemError(NOT_READY, detail, headers={"Retry-After": "1"})


def as_problem(error: Exception) -> ProblemError | None:
    """Return the problem for an error that a request can cause; None for an internal error."""
    if isinstance(error, ProblemError):
        return error
    for error_class, problem_type in _BY_DOMAIN_ERROR.items():
        if isinstance(error, error_class):
            return ProblemError(problem_type, str(error))
    if isinstance(error, ValidationError):
        return _validation_problem(error)
    for transfer_error, problem_type, detail in _TRANSFER_ERRORS:
        if isinstance(error, transfer_error):
            return ProblemError(problem_type, detail)
    if isinstance(error, web.HTTPException) and error.status >= 400:
        return _aiohttp_problem(error)
    return None


def _validation_problem(error: ValidationError) -> ProblemError:
    details = error.errors(include_url=False, include_context=False)
    if details[0]["type"] == "json_invalid":
        return ProblemError(INVALID_JSON, details[0]["msg"])
    return validation_failed(error_items(error))


def _aiohttp_problem(error: web.HTTPException) -> ProblemError:
    other = ProblemType("http-error", error.status, error.reason, "")
    problem_type = _BY_STATUS.get(error.status, other)
    allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return ProblemError(problem_type, _detail_of(error, problem_type), headers=allow)


def _detail_of(error: web.HTTPException, problem_type: ProblemType) -> str:
    """Return aiohttp's text, or the remedy where that text only repeats the status."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"supported methods: {', '.join(sorted(error.allowed_methods))}"
    if isinstance(error, web.HTTPExpectationFailed):
        # aiohttp's text repeats the header.
        return "the only expectation that can be met is 100-continue"
    if error.text not in (None, f"{error.status}: {error.reason}"):
        return str(error.text)
    return problem_type.remedy or error.reason


def problem_of(error: Exception, method: str, route: str) -> ProblemError:
    """Return the problem to answer with; an internal error is logged with its traceback."""
    problem = as_problem(error)
    if problem is None:
        log.error("request_failed", route=route, method=method, exc_info=error)
        # The text of an unexpected error may hold internals, so it stays in the log.
        detail = "an unexpected error occurred; the log names this request id"
        problem = ProblemError(INTERNAL_ERROR, detail)
    return problem


def problem_response(problem: ProblemError, request_id: str) -> web.Response:
    """Return the response that reports a problem."""
    body: dict[str, Any] = {
        "type": f"/problems/{problem.type.slug}",
        "title": problem.type.title,
        "status": problem.type.status,
        "detail": problem.detail,
        "instance": f"urn:request:{request_id}",
        "request_id": request_id,
    }
    if problem.errors:
        body["errors"] = problem.errors
    return web.Response(
        body=msgspec.json.encode(body),
        status=problem.type.status,
        content_type="application/problem+json",
        # A passing error must not stay in a cache.
        headers={"Cache-Control": "no-store", **problem.headers},
    )


def new_request_id() -> str:
    """Return a random id of 128 bits for a request that brings none."""
    # An id is no secret, so the fast generator will do.
    return f"{random.getrandbits(128):032x}"


def error_item(pointer: str, detail: str) -> dict[str, str]:
    """Return one error of a request, at a JSON pointer (RFC 6901) into the request."""
    return {"pointer": pointer, "detail": detail}


def error_items(error: ValidationError, pointer: str = "#") -> list[dict[str, str]]:
    """Return pydantic's errors about the value at `pointer`."""
    details = error.errors(include_url=False, include_context=False)
    return [error_item(pointer + _pointer(d["loc"]), _sentence(d)) for d in details]


def validation_failed(errors: list[dict[str, str]]) -> ProblemError:
    """Return a 422 problem: `detail` has the first error, `errors` up to MAX_ERRORS of them."""
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    detail = f"{first['pointer']} {first['detail']}{more}"
    return ProblemError(VALIDATION_FAILED, detail, errors[:MAX_ERRORS])


def invalid_value(pointer: str, detail: str) -> ProblemError:
    """Return a 422 problem with a single error."""
    return validation_failed([error_item(pointer, detail)])


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join(f"/{escape_pointer(str(part))}" for part in location)


def escape_pointer(name: str) -> str:
    """Return a member's name as a token of a JSON pointer (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")


def _sentence(detail: ErrorDetails) -> str:
    """Return pydantic's message in the style of the other errors: "must be >= 0"."""
    known = {
        "extra_forbidden": "is not a known field",
        "missing": "is required",
        "finite_number": "must be a finite number",
        "too_short": "must not be empty",
    }
    message = detail["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    # The longer phrases come first, because "greater than" is a part of them.
    for words, sign in (
        ("greater than or equal to", ">="),
        ("less than or equal to", "<="),
        ("greater than", ">"),
        ("less than", "<"),
    ):
        message = message.replace(words, sign)
    return known.get(detail["type"], message[:1].lower() + message[1:])
