"""Compression where it pays: of long answers, for clients that take it."""

from __future__ import annotations

import re

from aiohttp import web

GZIP_FROM_BYTES = 2_048
"""Below this size compression costs more than it saves."""

_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")


def accepts_gzip(request: web.Request) -> bool:
    """Whether the client takes gzip."""
    return _GZIP.search(request.headers.get("Accept-Encoding", "").lower()) is not None


def compress(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """The answer, compressed if it is long and not compressed already."""
    body = response.body if isinstance(response, web.Response) else None
    if "Content-Encoding" in response.headers or not isinstance(body, bytes):
        return response
    if len(body) >= GZIP_FROM_BYTES:
        response.headers.add("Vary", "Accept-Encoding")
        if accepts_gzip(request):
            response.enable_compression(web.ContentCoding.gzip)
    return response
