"""Headers of every answer: the request's id, safety, quota and CORS."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from volsvc.config.http import HttpSettings
from volsvc.web.auth.browser import cors_headers

REQUEST_ID = "X-Request-ID"

# Headers that a request's answer is going to have; collected while the request is admitted, since
# a stream sends its head long before the middleware sees an answer.
ANSWER_HEADERS: web.RequestKey[dict[str, str]] = web.RequestKey("headers", dict[str, str])


def base_headers(request_id: str) -> dict[str, str]:
    """Return the headers that no answer lacks; `nosniff` keeps a browser from guessing types."""
    return {REQUEST_ID: request_id, "X-Content-Type-Options": "nosniff"}


def add_headers(request: web.Request, response: web.StreamResponse, http: HttpSettings) -> None:
    """Add the collected headers and those of CORS to an answer that has not been sent."""
    response.headers.update(request[ANSWER_HEADERS])
    response.headers.extend(cors_headers(request.headers, http))


def all_headers(
    collected: Mapping[str, str], request_headers: Mapping[str, str], http: HttpSettings
) -> list[tuple[str, str]]:
    """Return what `add_headers` adds as pairs, for an answer that is written without aiohttp."""
    return [*collected.items(), *cors_headers(request_headers, http).items()]
