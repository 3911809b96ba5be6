"""JSON responses, and the comparison with a caller's copy of an answer."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from volsvc.web.compression import GZIP_ELSEWHERE


def json_response(value: Any, **options: Any) -> web.Response:
    """Return a JSON response that caches must not store, unless `headers` says otherwise."""
    headers = {
        "Cache-Control": "no-store",
        "Content-Type": "application/json",
        **options.pop("headers", {}),
    }
    body = msgspec.json.encode(value)
    return web.Response(body=body, headers=headers, zlib_executor_size=GZIP_ELSEWHERE, **options)


def matches(request: web.Request, etag: str) -> bool:
    """Return True if If-None-Match names the answer with this tag, or any."""
    return any(tag.value in (etag, "*") for tag in request.if_none_match or ())
