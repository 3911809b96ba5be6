"""A daemon in this process, with its server on a free port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.daemon import eventually, metric_sum
from volsvc.app import Daemon
from volsvc.commands import generate_file
from volsvc.config import load_settings

LIMITS = {"max_body_bytes": 65_536, "max_rows": 100, "request_timeout_s": 1, "port": 0}


@pytest.fixture(scope="session")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six minutes of two generated markets."""
    path = tmp_path_factory.mktemp("ticks") / "minutes.ndjson"
    symbols = ("BTC-USD", "ETH-USD")
    generate_file(path, minutes=6, seed=3, symbols=symbols, start="2026-01-05T14:00:00Z")
    return path


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
    async with asyncio.timeout(10):
        await run
