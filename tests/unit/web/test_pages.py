"""Files of the pages: types, tags, compression, and names that do not exist."""

from __future__ import annotations

import gzip
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from volsvc.web.auth.browser import PAGE_HEADERS
from volsvc.web.problem_types import NOT_FOUND
from volsvc.web.problems import ProblemError
from volsvc.web.routes.pages import (
    OPEN_API,
    STATIC_FILES,
    OpenApi,
    StaticFiles,
    docs_asset,
    docs_page,
    live_page,
    live_page_asset,
    openapi_json,
)

Handler = Callable[[web.Request], Awaitable[web.Response]]
TEXT = b"some text of a page, " * 50
NOISE = random.Random(1).randbytes(1_000)
# The first 24 digits of `sha256sum` of the text.
TEXT_TAG = "d09454c15b5c8ed2819a10fe"


@pytest.fixture
def app(tmp_path: Path) -> web.Application:
    """An application with the files of a folder."""
    for folder in ("page", "docs"):
        (tmp_path / folder / "inner").mkdir(parents=True)
        (tmp_path / folder / "index.html").write_bytes(TEXT + folder.encode())
        (tmp_path / folder / "text.css").write_bytes(TEXT)
        (tmp_path / folder / "noise.unheard").write_bytes(NOISE)
    app = web.Application()
    app[STATIC_FILES] = StaticFiles(tmp_path)
    app[OPEN_API] = OpenApi(lambda: {"openapi": "3.1.0"})
    return app


async def ask(
    app: web.Application, handler: Handler, name: str = "", **headers: str
) -> web.Response:
    """Return the answer of a handler; `_` in the names of headers stands for `-`."""
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    match = {"name": name} if name else {}
    return await handler(make_mocked_request("GET", "/x", given, match_info=match, app=app))


async def test_pages_and_their_files_are_sent_plain(app: web.Application) -> None:
    """Without gzip a file is sent as it is, with its type, and to be asked for again each time."""
    for handler, name, body, kind in (
        (live_page, "", TEXT + b"page", "text/html"),
        (docs_page, "", TEXT + b"docs", "text/html"),
        (live_page_asset, "text.css", TEXT, "text/css"),
        (docs_asset, "text.css", TEXT, "text/css"),
        (live_page_asset, "noise.unheard", NOISE, "application/octet-stream"),
    ):
        answer = await ask(app, handler, name)
        assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, body, kind)


async def test_headers_of_a_file(app: web.Application) -> None:
    """The tag is a part of the content's hash, and compressed and plain answers share it."""
    expected = {
        **PAGE_HEADERS,
        "Cache-Control": "no-cache",
        "ETag": f'W/"{TEXT_TAG}"',
        "Vary": "Accept-Encoding",
        "Content-Type": "text/css",
    }
    answer = await ask(app, docs_asset, "text.css")
    assert dict(answer.headers) == expected
    answer = await ask(app, docs_asset, "text.css", Accept_Encoding="br, gzip")
    assert dict(answer.headers) == {**expected, "Content-Encoding": "gzip"}
    assert answer.body == gzip.compress(TEXT, mtime=0)
    answer = await ask(app, docs_asset, "noise.unheard", Accept_Encoding="gzip")
    assert "Content-Encoding" not in answer.headers
    assert answer.body == NOISE


async def test_a_file_that_the_browser_has_is_not_sent_again(app: web.Application) -> None:
    """The tag among those that the browser names is 304 with the same headers and no body."""
    tags = f'"other", W/"{TEXT_TAG}"'
    answer = await ask(app, live_page_asset, "text.css", If_None_Match=tags)
    assert (answer.status, answer.body) == (304, None)
    assert answer.headers["ETag"] == f'W/"{TEXT_TAG}"'
    assert answer.headers["Cache-Control"] == "no-cache"
    answer = await ask(app, live_page_asset, "text.css", If_None_Match='"other"')
    assert (answer.status, answer.body) == (200, TEXT)


async def test_names_are_looked_up_and_not_paths(app: web.Application) -> None:
    """Other names, folders and ways out of the folder are 404."""
    for name in ("none.css", "inner", "../docs/text.css", "/etc/passwd", "index"):
        with pytest.raises(ProblemError) as caught:
            await ask(app, live_page_asset, name)
        assert caught.value.type is NOT_FOUND
        assert caught.value.detail == "there is no file of this name"


async def test_a_file_is_compressed_if_that_saves_a_tenth(tmp_path: Path) -> None:
    """Compressed to exactly nine tenths a file is sent plain, and to a byte less compressed."""
    sizes: dict[int, bytes] = {}
    for noise in range(1_000):
        body = NOISE[:noise].ljust(1_000, b"\0")
        sizes.setdefault(len(gzip.compress(body, mtime=0)), body)
    (tmp_path / "page").mkdir()
    (tmp_path / "docs").mkdir()
    for size in (899, 900):
        (tmp_path / "page" / str(size)).write_bytes(sizes[size])
    app = web.Application()
    app[STATIC_FILES] = StaticFiles(tmp_path)
    for size, sent in ((899, 899), (900, 1_000)):
        answer = await ask(app, live_page_asset, str(size), Accept_Encoding="gzip")
        assert isinstance(answer.body, bytes)
        assert len(answer.body) == sent


async def test_the_document_is_json(app: web.Application) -> None:
    """The OpenAPI document is sent as JSON."""
    answer = await ask(app, openapi_json)
    assert answer.body == b'{"openapi":"3.1.0"}'
    assert answer.headers["Content-Type"] == "application/json"
