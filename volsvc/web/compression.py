"""Gzip for long answers, for clients that accept it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence

from aiohttp import web

# Below this size compression costs more than it saves.
GZIP_FROM_BYTES = 2_048
# Above this size aiohttp compresses in a thread: it takes half a millisecond and more.
GZIP_ELSEWHERE = 32 * 1024

# A quarter of the time of the usual level, for a quarter more bytes.
GZIP_LEVEL = 2

# The coding `gzip` unless its quality is zero, which RFC 9110 defines as "not acceptable".
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")
# Added to what produces zlib's format, 16 makes it produce gzip's (zlib manual, deflateInit2).
_GZIP_WINDOW_BITS = zlib.MAX_WBITS + 16


# On every answer that is long enough for gzip: tells caches what its coding depends on.
VARY = ("Vary", "Accept-Encoding")


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Return whether the client that sent these headers accepts gzip."""
    return _GZIP.search(headers.get("Accept-Encoding", "").lower()) is not None


def negotiate(
    size: int, request_headers: Mapping[str, str]
) -> tuple[bool, Sequence[tuple[str, str]]]:
    """Return whether an answer of `size` bytes is sent as gzip, and the headers that go with it."""
    if size < GZIP_FROM_BYTES:
        return False, ()
    return accepts_gzip(request_headers), (VARY,)


def compress_response(request: web.Request, response: web.StreamResponse) -> None:
    """Let aiohttp compress an answer that is long and not compressed already."""
    body = response.body if isinstance(response, web.Response) else None
    if "Content-Encoding" in response.headers or not isinstance(body, bytes):
        return
    gzip, headers = negotiate(len(body), request.headers)
    response.headers.extend(headers)
    if gzip:
        response.enable_compression(web.ContentCoding.gzip)


def compress(
    content: bytes, request_headers: Mapping[str, str]
) -> tuple[bytes, Sequence[tuple[str, str]]]:
    """Return a body, compressed if it is long, and the headers that this takes."""
    gzip, headers = negotiate(len(content), request_headers)
    if not gzip:
        return content, headers
    packed = zlib.compress(content, GZIP_LEVEL, wbits=_GZIP_WINDOW_BITS)
    return packed, (*headers, ("Content-Encoding", "gzip"))
