"""Answers in JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from volsvc.web.compression import GZIP_ELSEWHERE


def json_response(value: Any, **options: Any) -> web.Response:
    """An answer in JSON that nobody may keep."""
    headers = {
        "Cache-Control": "no-store",
        "Content-Type": "application/json",
        **options.pop("headers", {}),
    }
    body = msgspec.json.encode(value)
    return web.Response(body=body, headers=headers, zlib_executor_size=GZIP_ELSEWHERE, **options)
