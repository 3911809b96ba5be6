"""Compression where it pays: of long answers, for clients that take it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

# Below this size compression costs more than it saves.
GZIP_FROM_BYTES = 2_048
# From this size on it is done in a thread: it takes half a millisecond and more.
GZIP_ELSEWHERE = 32 * 1024

_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Whether the client that sent these headers takes gzip."""
    return _GZIP.search(headers.get("Accept-Encoding", "").lower()) is not None


def compress(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """The answer, compressed if it is long and not compressed already."""
    body = response.body if isinstance(response, web.Response) else None
    if "Content-Encoding" in response.headers or not isinstance(body, bytes):
        return response
    if len(body) >= GZIP_FROM_BYTES:
        response.headers.add("Vary", "Accept-Encoding")
        if accepts_gzip(request.headers):
            response.enable_compression(web.ContentCoding.gzip)
    return response
