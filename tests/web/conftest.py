"""Fixtures: a daemon in this process, with its server on a free port."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemon import eventually, metric_sum
from volsvc.config.settings import load_settings
from volsvc.daemon.daemon import Daemon
from volsvc.web.server.fast_path import FastPath, KnownHead

in_its_loop = pytest.mark.asyncio(loop_scope="module")
LIMITS = {"max_body_bytes": 65_536, "max_rows": 100, "request_timeout_s": 3, "port": 0}


@pytest.fixture(scope="module")
async def service(
    minutes: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a daemon that has replayed the recording; the tests of a module share it.

    They run in its event loop: `@in_its_loop`, or `pytestmark = in_its_loop`.
    """
    given: dict[str, dict[str, Any]] = {
        "source": {"path": str(minutes)},
        "replay": {"speed": "max"},
        "service": {"data_dir": str(tmp_path_factory.mktemp("var"))},
        "model": {"variant": "baseline"},
        "http": LIMITS,
    }
    daemon = Daemon(load_settings(None, given))
    stop, url = asyncio.Event(), asyncio.get_running_loop().create_future()
    run = asyncio.create_task(daemon.run(stop, url.set_result))
    async with aiohttp.ClientSession(await url) as client:
        rows = len(minutes.read_text().splitlines())

        async def replayed() -> bool:
            async with client.get("/metrics") as response:
                text = await response.text()
            return metric_sum(text, "volsvc_ticks_total") == rows

        await eventually(replayed, 20, "the recording is replayed")
        yield client
    stop.set()
    async with asyncio.timeout(60):
        await run


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the requests answered by the fast path, by route; `declined` are those it left."""
    count: Counter[str] = Counter()
    original = FastPath.answer

    def answer(self: FastPath, known: KnownHead, body: bytes) -> bytes | None:
        content = original(self, known, body)
        count[known.route if content is not None else "declined"] += 1
        return content

    monkeypatch.setattr(FastPath, "answer", answer)
    return count
