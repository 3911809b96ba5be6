"""JSON answers: what caches may do with them, and where long ones are compressed."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from volsvc.web.compression import GZIP_ELSEWHERE
from volsvc.web.routes.answers import json_response


def test_json_is_not_stored_unless_headers_say_otherwise() -> None:
    """The body is compact JSON; given headers and a status come through."""
    answer = json_response({"a": [1, None]})
    assert (answer.status, answer.body) == (200, b'{"a":[1,null]}')
    json = {"Content-Type": "application/json"}
    assert dict(answer.headers) == {"Cache-Control": "no-store", **json}
    answer = json_response([], status=503, headers={"Cache-Control": "no-cache", "X-Other": "1"})
    assert (answer.status, answer.body) == (503, b"[]")
    assert dict(answer.headers) == {"Cache-Control": "no-cache", **json, "X-Other": "1"}


class Counted(ThreadPoolExecutor):
    """A pool that counts its calls."""

    calls = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.calls += 1
        return super().submit(fn, *args, **kwargs)


async def test_only_long_answers_are_compressed_in_a_thread() -> None:
    """A thread costs more than it saves for a short answer; a long one would hold up the loop."""
    pool = Counted(1)
    asyncio.get_running_loop().set_default_executor(pool)
    for size, calls in ((2_000, 0), (GZIP_ELSEWHERE // 2, 0), (GZIP_ELSEWHERE * 2, 1)):
        answer = json_response("x" * size)
        answer.enable_compression(web.ContentCoding.gzip)
        await answer.prepare(make_mocked_request("GET", "/x"))
        assert answer.headers["Content-Encoding"] == "gzip"
        assert pool.calls == calls, size
