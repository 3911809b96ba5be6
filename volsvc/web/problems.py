"""Errors as `application/problem+json` (RFC 9457): the one place where errors get a status."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from volsvc.domain import UnknownSymbolError, VolsvcError
from volsvc.models import ModelError
from volsvc.serving.audit_log import AuditLogError
from volsvc.serving.controller import ModelRefusedError
from volsvc.serving.mlflow_rest import RegistryAwayError
from volsvc.telemetry.logs import get_logger

log = get_logger(__name__)


class Kind(NamedTuple):
    """A kind of problem: the slug of its type, its status, its title, and what to do about it."""

    slug: str
    status: int
    title: str
    remedy: str


BAD_REQUEST = Kind("bad-request", 400, "The request is not HTTP", "Use an HTTP client library.")
INVALID_JSON = Kind(
    "invalid-json",
    400,
    "The body is not valid JSON",
    "Send one JSON object in UTF-8, with each name once and at most a few levels deep.",
)
UNAUTHORIZED = Kind(
    "unauthorized",
    401,
    "A valid key is needed",
    "Send your key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
)
FORBIDDEN = Kind(
    "forbidden", 403, "Not allowed", "Ask the operator for a key with the scope that is named."
)
UNKNOWN_SYMBOL = Kind(
    "unknown-symbol", 404, "No such symbol", "GET /latest lists the symbols that are known."
)
NOT_FOUND = Kind("not-found", 404, "No such route", "GET /openapi.json lists the routes.")
NO_REPORT = Kind(
    "no-report",
    404,
    "No report is made here",
    "Ask an instance that consumes ticks and has drift.enabled = true.",
)
METHOD = Kind(
    "method-not-allowed",
    405,
    "The route does not take this method",
    "The header `Allow` lists the methods that it takes.",
)
TIMEOUT = Kind(
    "request-timeout", 408, "The request took too long", "Send head and body without a pause."
)
TOO_LARGE = Kind(
    "payload-too-large", 413, "The body is too large", "Send the rows in several requests."
)
MEDIA_TYPE = Kind(
    "unsupported-media-type",
    415,
    "The body is of another type than JSON",
    "Send `Content-Type: application/json`.",
)
REFUSED = Kind(
    "model-refused",
    409,
    "The model must not serve",
    "What served before goes on; the detail says what the model failed at.",
)
INVALID = Kind(
    "validation-failed",
    422,
    "The request is not valid",
    "`errors` points at each fault; `Prefer: handling=lenient` lets the other rows through.",
)
RATE_LIMITED = Kind(
    "rate-limited", 429, "The key's quota is used up", "Wait for the seconds in `Retry-After`."
)
OVERLOADED = Kind(
    "overloaded",
    429,
    "More requests than the service can take now",
    "It works, but others came first: try again after the seconds in `Retry-After`.",
)
HEADERS_TOO_LARGE = Kind(
    "header-fields-too-large", 431, "The head of the request is too large", "Send fewer headers."
)
INTERNAL = Kind("internal-error", 500, "The service failed", "Give the operator the `request_id`.")
JOURNAL = Kind(
    "journal-broken", 500, "The journal is broken", "Tell the operator, who has the file."
)
AWAY = Kind(
    "registry-away", 503, "The registry does not answer", "What serves goes on; try again later."
)
MODEL_FAILED = Kind(
    "model-failed", 503, "No model gave an answer", "Ask another instance; tell the operator."
)
NOT_READY = Kind(
    "not-ready", 503, "The service is not ready", "It starts or drains; ask another instance."
)
STALE = Kind(
    "stale-data",
    503,
    "The newest data is older than `max_age`",
    "Try again later, or allow a greater `max_age`.",
)
# Every kind of problem, by the slug at the end of its type.
KINDS = {
    kind.slug: kind
    for kind in (
        BAD_REQUEST,
        INVALID_JSON,
        UNAUTHORIZED,
        FORBIDDEN,
        UNKNOWN_SYMBOL,
        NOT_FOUND,
        NO_REPORT,
        METHOD,
        TIMEOUT,
        REFUSED,
        TOO_LARGE,
        MEDIA_TYPE,
        INVALID,
        RATE_LIMITED,
        OVERLOADED,
        HEADERS_TOO_LARGE,
        INTERNAL,
        JOURNAL,
        AWAY,
        MODEL_FAILED,
        NOT_READY,
        STALE,
    )
}
_BY_STATUS = {400: BAD_REQUEST, 404: NOT_FOUND, 405: METHOD, 413: TOO_LARGE, 408: TIMEOUT}

_OURS: dict[type[VolsvcError], Kind] = {
    UnknownSymbolError: UNKNOWN_SYMBOL,
    ModelRefusedError: REFUSED,
    RegistryAwayError: AWAY,
    ModelError: MODEL_FAILED,
    AuditLogError: JOURNAL,
}

_INTERRUPTIONS: tuple[tuple[type[Exception], Kind, str], ...] = (
    (web.RequestPayloadError, BAD_REQUEST, "the body is not encoded as its headers say"),
    (ConnectionResetError, BAD_REQUEST, "the client left before its request was complete"),
    (TimeoutError, TIMEOUT, "the request was not complete in time"),
)

# Faults listed in an answer; a body of 10,000 bad rows needs no answer of megabytes.
MAX_ERRORS = 100


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
    for interruption, kind, detail in _INTERRUPTIONS:
        if isinstance(error, interruption):
            return ProblemError(kind, detail)
    if isinstance(error, web.HTTPException) and error.status >= 400:
        other = Kind("http-error", error.status, error.reason, "")
        kind = _BY_STATUS.get(error.status, other)
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return ProblemError(kind, _detail_of(error, kind), headers=allow)
    return None


def _detail_of(error: web.HTTPException, kind: Kind) -> str:
    """What aiohttp has to say; what to do about it where that is no more than the status."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"it takes {', '.join(sorted(error.allowed_methods))}"
    if error.text not in (None, f"{error.status}: {error.reason}"):
        return str(error.text)
    return kind.remedy or error.reason


def problem_of(error: Exception, method: str, route: str) -> ProblemError:
    """The problem to answer with; the log has what was a failure of ours."""
    problem = as_problem(error)
    if problem is None:
        log.error("request_failed", route=route, method=method, exc_info=error)
        problem = ProblemError(INTERNAL, "an unexpected error; the log has its request id")
    return problem


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


def new_request_id() -> str:
    """An id for a request that brings none: nobody gains by guessing one."""
    return f"{random.getrandbits(128):032x}"


def invalid(faults: list[dict[str, str]]) -> ProblemError:
    """What is wrong with a request, the first fault in words and all of them in a list."""
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    detail = f"{first['pointer']} {first['detail']}{more}"
    return ProblemError(INVALID, detail, faults[:MAX_ERRORS])


def fault(pointer: str, detail: str) -> dict[str, str]:
    """One fault, at a JSON pointer into the request."""
    return {"pointer": pointer, "detail": detail}


def faults_of(error: ValidationError, place: str = "#") -> list[dict[str, str]]:
    """The faults that pydantic found in what stands at `place`."""
    details = error.errors(include_url=False, include_context=False)
    return [fault(place + _pointer(d["loc"]), _sentence(d)) for d in details]


def _invalid(error: ValidationError) -> ProblemError:
    details = error.errors(include_url=False, include_context=False)
    if details[0]["type"] == "json_invalid":
        return ProblemError(INVALID_JSON, details[0]["msg"])
    return invalid(faults_of(error))


def _pointer(places: tuple[int | str, ...]) -> str:
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in places]
    return "".join(f"/{part}" for part in parts)


def _sentence(detail: ErrorDetails) -> str:
    known = {
        "extra_forbidden": "is not a known field",
        "missing": "is required",
        "finite_number": "must be a finite number",
        "too_short": "must not be empty",
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
