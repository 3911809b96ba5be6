"""The problem types of RFC 9457 that the service answers with."""

from __future__ import annotations

from typing import NamedTuple


class ProblemType(NamedTuple):
    """A problem type: the slug at the end of its URI, its status, title and remedy."""

    slug: str
    status: int
    title: str
    remedy: str


BAD_REQUEST = ProblemType(
    "bad-request", 400, "The request is not valid HTTP", "Use an HTTP client library."
)
INVALID_JSON = ProblemType(
    "invalid-json",
    400,
    "The request body is not valid JSON",
    "Send one JSON object in UTF-8, with unique names in each object and little nesting.",
)
UNAUTHORIZED = ProblemType(
    "unauthorized",
    401,
    "A valid API key is required",
    "Send your key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
)
FORBIDDEN = ProblemType(
    "forbidden", 403, "Not allowed", "Ask the operator for a key with the scope named in `detail`."
)
UNKNOWN_SYMBOL = ProblemType(
    "unknown-symbol", 404, "Unknown symbol", "GET /latest lists the known symbols."
)
NOT_FOUND = ProblemType("not-found", 404, "Not found", "GET /openapi.json lists the routes.")
NO_REPORT = ProblemType(
    "no-report",
    404,
    "This instance makes no drift report",
    "Ask an instance that consumes ticks and has drift.enabled = true.",
)
NOT_KEPT = ProblemType(
    "not-kept",
    404,
    "This instance keeps no past",
    "Ask a daemon that consumes ticks with the in-process bus and store.enabled = true.",
)
NOT_ACCEPTABLE = ProblemType(
    "not-acceptable",
    406,
    "None of the accepted formats is offered",
    "Send one of the formats named in `detail` as `Accept`, or leave the header out.",
)
METHOD_NOT_ALLOWED = ProblemType(
    "method-not-allowed",
    405,
    "The route does not support this method",
    "The `Allow` header lists the supported methods.",
)
REQUEST_TIMEOUT = ProblemType(
    "request-timeout",
    408,
    "The request took too long",
    "Send the headers and the body without pauses.",
)
PAYLOAD_TOO_LARGE = ProblemType(
    "payload-too-large",
    413,
    "The request body is too large",
    "Split the rows over several requests.",
)
UNSUPPORTED_MEDIA_TYPE = ProblemType(
    "unsupported-media-type",
    415,
    "The request body is not declared as JSON",
    "Send `Content-Type: application/json`.",
)
UNSUPPORTED_CODING = ProblemType(
    "unsupported-coding",
    415,
    "The request body has an unknown content coding",
    "Send the body as it is, or with a coding that the header `Accept-Encoding` names.",
)
EXPECTATION_FAILED = ProblemType(
    "expectation-failed",
    417,
    "The expectation cannot be met",
    "Send `Expect: 100-continue`, or leave the header out.",
)
MODEL_REFUSED = ProblemType(
    "model-refused",
    409,
    "The model cannot be activated",
    "The active model stays in service; `detail` gives the reason.",
)
VALIDATION_FAILED = ProblemType(
    "validation-failed",
    422,
    "The request is not valid",
    "`errors` points to each error. POST /predict with `Prefer: handling=lenient` answers the"
    " valid rows.",
)
RATE_LIMITED = ProblemType(
    "rate-limited",
    429,
    "The key's quota is exhausted",
    "Wait for the number of seconds in `Retry-After`.",
)
OVERLOADED = ProblemType(
    "overloaded",
    429,
    "The service is at capacity",
    "The service works but is busy. Try again after the number of seconds in `Retry-After`.",
)
HEADERS_TOO_LARGE = ProblemType(
    "header-fields-too-large",
    431,
    "The request line or the headers are too large",
    "Send fewer or shorter headers.",
)
INTERNAL_ERROR = ProblemType(
    "internal-error", 500, "Internal error", "Report the `request_id` to the operator."
)
JOURNAL_BROKEN = ProblemType(
    "journal-broken",
    500,
    "The audit log is damaged",
    "Tell the operator: the entry named in `detail` must be checked.",
)
REGISTRY_AWAY = ProblemType(
    "registry-away",
    503,
    "The model registry does not answer",
    "The active model stays in service. Try again later.",
)
MODEL_FAILED = ProblemType(
    "model-failed",
    503,
    "No model returned a forecast",
    "Try another instance, and tell the operator.",
)
PAST_UNREADABLE = ProblemType(
    "past-unreadable",
    503,
    "The store cannot be read",
    "Try again later, and tell the operator: `detail` names the file and its fault.",
)
NOT_READY = ProblemType(
    "not-ready",
    503,
    "The service is not ready",
    "The service is starting or draining. Try another instance.",
)
STALE_DATA = ProblemType(
    "stale-data",
    503,
    "The newest data is older than `max_age`",
    "Try again later, or use a larger `max_age`.",
)
# Every problem type, by its slug; in the order in which the OpenAPI document shows them.
PROBLEM_TYPES = {
    problem_type.slug: problem_type
    for problem_type in (
        BAD_REQUEST,
        INVALID_JSON,
        UNAUTHORIZED,
        FORBIDDEN,
        UNKNOWN_SYMBOL,
        NOT_FOUND,
        NO_REPORT,
        NOT_KEPT,
        METHOD_NOT_ALLOWED,
        NOT_ACCEPTABLE,
        REQUEST_TIMEOUT,
        MODEL_REFUSED,
        PAYLOAD_TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        UNSUPPORTED_CODING,
        EXPECTATION_FAILED,
        VALIDATION_FAILED,
        RATE_LIMITED,
        OVERLOADED,
        HEADERS_TOO_LARGE,
        INTERNAL_ERROR,
        JOURNAL_BROKEN,
        REGISTRY_AWAY,
        MODEL_FAILED,
        PAST_UNREADABLE,
        NOT_READY,
        STALE_DATA,
    )
}
