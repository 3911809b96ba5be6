"""One question to a running service."""

from __future__ import annotations

from typing import NamedTuple

import aiohttp


class Answer(NamedTuple):
    """What a service said; `date` is its clock's, as the header has it."""

    status: int
    body: bytes
    date: str


async def ask(url: str, within_s: float) -> Answer | None:
    """The answer to a GET; None when nothing answers in time."""
    timeout = aiohttp.ClientTimeout(total=within_s)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as client, client.get(url) as response:
            body = await response.read()
            return Answer(response.status, body, response.headers.get("Date", ""))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
