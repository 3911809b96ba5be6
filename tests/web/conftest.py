"""Fixtures: a daemon in this process, with its server on a free port."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.daemon import eventually, metric_sum
from volsvc.config.settings import load_settings
from volsvc.daemon.daemon import Daemon
from volsvc.web.server.fast_path import FastPath, KnownHead

LIMITS = {"max_body_bytes": 65_536, "max_rows": 100, "request_timeout_s": 1, "port": 0}


@pytest.fixture
async def service(
    minutes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a daemon that has replayed the recording."""
    monkeypatch.chdir(tmp_path)
    replay = {"source": {"path": str(minutes)}, "replay": {"speed": "max"}}
    model = {"model": {"variant": "baseline"}}
    daemon = Daemon(load_settings(None, {**replay, **model, "http": LIMITS}))
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
