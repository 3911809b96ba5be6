"""Handlers of the pages: the live page, the API documentation, and the OpenAPI document."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class _File:
    """A file in memory; `gzipped` is None if compression does not pay."""

    body: bytes
    gzipped: bytes | None
    content_type: str
    etag: str


class StaticFiles:
    """The files of the pages, read once into memory.

    Requests are looked up by name among them, so no path of a request can lead to another file.
    """

    def __init__(self, root: Path = STATIC) -> None:
        self.page: Mapping[str, _File] = _read_folder(root / "page")
        self.docs: Mapping[str, _File] = _read_folder(root / "docs")


STATIC_FILES = web.AppKey("static_files", StaticFiles)
OPENAPI_JSON = web.AppKey("openapi_json", bytes)


async def live_page(request: web.Request) -> web.Response:
    """GET /: the live page."""
    return _respond(request, request.app[STATIC_FILES].page, INDEX)


async def live_page_asset(request: web.Request) -> web.Response:
    """GET /assets/{name}: a file of the live page."""
    return _respond(request, request.app[STATIC_FILES].page, request.match_info["name"])


async def docs_page(request: web.Request) -> web.Response:
    """GET /docs: the API documentation."""
    return _respond(request, request.app[STATIC_FILES].docs, INDEX)


async def docs_asset(request: web.Request) -> web.Response:
    """GET /docs/assets/{name}: a file of the API documentation."""
    return _respond(request, request.app[STATIC_FILES].docs, request.match_info["name"])


async def openapi_json(request: web.Request) -> web.Response:
    """GET /openapi.json: the OpenAPI document."""
    return web.Response(body=request.app[OPENAPI_JSON], content_type="application/json")


def _read_folder(folder: Path) -> dict[str, _File]:
    return {path.name: _read(path) for path in folder.iterdir() if path.is_file()}


def _read(path: Path) -> _File:
    body = path.read_bytes()
    # Without a time stamp the same file gives the same bytes in every process.
    gzipped = gzip.compress(body, 9, mtime=0)
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    etag = hashlib.sha256(body).hexdigest()[:24]
    pays = len(gzipped) < _MAX_GZIP_RATIO * len(body)
    return _File(body, gzipped if pays else None, content_type, etag)


def _respond(request: web.Request, folder: Mapping[str, _File], name: str) -> web.Response:
    """Answer with a file of a folder; raises ProblemError (404) if it has none of this name."""
    file = folder.get(name)
    if file is None:
        raise ProblemError(NOT_FOUND, "there is no file of this name")
    # The tag is weak, because the plain and the compressed body share it.
    headers = {**PAGE_HEADERS, "Cache-Control": "no-cache", "ETag": f'W/"{file.etag}"'}
    headers["Vary"] = "Accept-Encoding"
    if matches(request, file.etag):
        return web.Response(status=304, headers=headers)
    if file.gzipped is None or not accepts_gzip(request.headers):
        return web.Response(body=file.body, content_type=file.content_type, headers=headers)
    headers["Content-Encoding"] = "gzip"
    return web.Response(body=file.gzipped, content_type=file.content_type, headers=headers)
