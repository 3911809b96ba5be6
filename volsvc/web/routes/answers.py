"""JSON responses."""

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
