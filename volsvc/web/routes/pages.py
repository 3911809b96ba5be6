"""The files of pages, held in memory: what is not there at the start cannot be asked for."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from volsvc.web.auth.browser import PAGE_HEADERS
from volsvc.web.compression import accepts_gzip
from volsvc.web.problems import NOT_FOUND, ProblemError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Files that compress to more than this share are sent as they are.
_SAVES = 0.9


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    packed: bytes | None
    content_type: str
    etag: str


def files_of(folder: Path) -> Handler:
    """A handler for `…/{name}` over the files of a folder."""
    files = {path.name: _read(path) for path in folder.iterdir() if path.is_file()}

    async def serve(request: web.Request) -> web.StreamResponse:
        found = files.get(request.match_info["name"])
        if found is None:
            raise ProblemError(NOT_FOUND, "no file is called so")
        return _respond(request, found)

    return serve


def page_of(path: Path) -> Handler:
    """A handler that answers with one page."""
    page = _read(path)

    async def serve(request: web.Request) -> web.StreamResponse:
        return _respond(request, page)

    return serve


def _read(path: Path) -> _File:
    body = path.read_bytes()
    packed = gzip.compress(body, 9, mtime=0)
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    etag = hashlib.sha256(body).hexdigest()[:24]
    return _File(body, packed if len(packed) < _SAVES * len(body) else None, kind, etag)


def _respond(request: web.Request, file: _File) -> web.Response:
    headers = {**PAGE_HEADERS, "Cache-Control": "no-cache", "ETag": f'W/"{file.etag}"'}
    headers["Vary"] = "Accept-Encoding"
    if any(tag.value == file.etag for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    if file.packed is None or not accepts_gzip(request.headers):
        return web.Response(body=file.body, content_type=file.content_type, headers=headers)
    headers["Content-Encoding"] = "gzip"
    return web.Response(body=file.packed, content_type=file.content_type, headers=headers)
