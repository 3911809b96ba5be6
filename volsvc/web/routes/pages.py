"""Handlers of the pages: the live page, the API documentation, and the OpenAPI document."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import mimetypes
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from volsvc.web.auth.browser import PAGE_HEADERS
from volsvc.web.compression import accepts_gzip
from volsvc.web.problem_types import NOT_FOUND
from volsvc.web.problems import ProblemError
from volsvc.web.routes.answers import matches

STATIC = Path(str(files("volsvc.web") / "static"))
INDEX = "index.html"

# A file is sent compressed only if that leaves less than this share of its size.
_MAX_GZIP_RATIO = 0.9


class _File:
    """A file in memory."""

    def __init__(self, path: Path) -> None:
        self.body = path.read_bytes()
        self.content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self.etag = hashlib.sha256(self.body).hexdigest()[:24]

    @cached_property
    def gzipped(self) -> bytes | None:
        """The compressed body; None if compression does not pay."""
        # Without a time stamp the same file gives the same bytes in every process.
        gzipped = gzip.compress(self.body, 9, mtime=0)
        return gzipped if len(gzipped) < _MAX_GZIP_RATIO * len(self.body) else None


class StaticFiles:
    """The files of the pages, read once into memory.

    Requests are looked up by name among them, so no path of a request can lead to another file.
    """

    def __init__(self, root: Path = STATIC) -> None:
        self.page: Mapping[str, _File] = _read_folder(root / "page")
        self.docs: Mapping[str, _File] = _read_folder(root / "docs")


class OpenApi:
    """The OpenAPI document, made when it is first asked for."""

    def __init__(self, make: Callable[[], Mapping[str, Any]]) -> None:
        self._make = make

    @cached_property
    def body(self) -> bytes:
        """The document as JSON."""
        return msgspec.json.encode(self._make())


STATIC_FILES = web.AppKey("static_files", StaticFiles)
OPEN_API = web.AppKey("open_api", OpenApi)


async def live_page(request: web.Request) -> web.Response:
    """GET /: the live page."""
    return await _respond(request, request.app[STATIC_FILES].page, INDEX)


async def live_page_asset(request: web.Request) -> web.Response:
    """GET /assets/{name}: a file of the live page."""
    return await _respond(request, request.app[STATIC_FILES].page, request.match_info["name"])


async def docs_page(request: web.Request) -> web.Response:
    """GET /docs: the API documentation."""
    return await _respond(request, request.app[STATIC_FILES].docs, INDEX)


async def docs_asset(request: web.Request) -> web.Response:
    """GET /docs/assets/{name}: a file of the API documentation."""
    return await _respond(request, request.app[STATIC_FILES].docs, request.match_info["name"])


async def openapi_json(request: web.Request) -> web.Response:
    """GET /openapi.json: the OpenAPI document."""
    # In threads, here and below, because the first time takes up to a tenth of a second.
    document = request.app[OPEN_API]
    body = await asyncio.to_thread(lambda: document.body)
    return web.Response(body=body, content_type="application/json")


def _read_folder(folder: Path) -> dict[str, _File]:
    return {path.name: _File(path) for path in folder.iterdir() if path.is_file()}


async def _respond(request: web.Request, folder: Mapping[str, _File], name: str) -> web.Response:
    """Answer with a file of a folder; raises ProblemError (404) if it has none of this name."""
    file = folder.get(name)
    if file is None:
        raise ProblemError(NOT_FOUND, "there is no file of this name")
    # The tag is weak, because the plain and the compressed body share it.
    headers = {**PAGE_HEADERS, "Cache-Control": "no-cache", "ETag": f'W/"{file.etag}"'}
    headers["Vary"] = "Accept-Encoding"
    if matches(request, file.etag):
        return web.Response(status=304, headers=headers)
    body = file.body
    if accepts_gzip(request.headers):
        gzipped = await asyncio.to_thread(lambda: file.gzipped)
        if gzipped is not None:
            headers["Content-Encoding"] = "gzip"
            body = gzipped
    return web.Response(body=body, content_type=file.content_type, headers=headers)
