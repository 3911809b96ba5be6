"""Headers that every answer has."""

from __future__ import annotations

from aiohttp import web

from volsvc.config.http import HttpSettings
from volsvc.web.auth.browser import cors_headers

ANSWER_HEADERS: web.RequestKey[dict[str, str]] = web.RequestKey("headers", dict[str, str])


def add_headers(request: web.Request, response: web.StreamResponse, http: HttpSettings) -> None:
    """The headers that every answer has; a stream, which its handler sends, is given them there."""
    response.headers.update(request[ANSWER_HEADERS])
    response.headers.extend(cors_headers(request.headers, http))
