"""Helpers: a daemon in this process with a test's own settings, and raw connections to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from volsvc.config.settings import load_settings
from volsvc.daemon.daemon import Daemon

ROW = {"ret_mean": 0.05, "ret_std": 0.01, "n": 50}


@asynccontextmanager
async def serving(
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[tuple[aiohttp.ClientSession, Daemon]]:
    """Run a daemon without a source, and yield a client of it and the daemon.

    The daemon writes into the working directory, so each test needs one of its own.
    """
    given = {"source": {"kind": "none"}, "model": {"variant": "baseline"}, **(settings or {})}
    given["http"] = {"port": 0, **given.get("http", {})}
    daemon = Daemon(load_settings(None, given))
    stop, url = asyncio.Event(), asyncio.get_running_loop().create_future()
    run = asyncio.create_task(daemon.run(stop, url.set_result))
    try:
        async with aiohttp.ClientSession(await url, headers=headers) as client:
            yield client, daemon
    finally:
        stop.set()
        async with asyncio.timeout(60):
            await run


async def exchange(client: aiohttp.ClientSession, *parts: bytes, within_s: float = 60) -> bytes:
    """Return the server's answer to raw bytes, which are sent part by part.

    Reads until the first answer is complete or the server closes the connection.
    """
    base = client._base_url
    assert base is not None
    assert base.host is not None
    reader, writer = await asyncio.open_connection(base.host, base.port)
    try:
        async with asyncio.timeout(within_s):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            answer = b""
            while not _complete(answer):
                more = await reader.read(65_536)
                if not more:
                    break
                answer += more
            return answer
    finally:
        writer.close()


def _complete(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return False


def status_of(answer: bytes) -> int:
    """Return the status of a raw answer."""
    return int(answer.split(b" ", 2)[1])
