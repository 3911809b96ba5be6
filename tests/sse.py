"""A reader of Server-Sent Events, independent of the package's client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp


class ReceivedEvent(NamedTuple):
    """One event, with its data decoded from JSON."""

    id: str
    kind: str
    data: Any


class Reader:
    """Reads the events of a response, and keeps its comments and retry times."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.comments: list[str] = []
        self.retry: list[int] = []
        self._fields: dict[str, str] = {}
        self._last_id = ""

    async def events(self) -> AsyncIterator[ReceivedEvent]:
        """Yield events as they arrive, until the stream ends."""
        async for line in self._response.content:
            text = line.decode().rstrip("\n")
            if text:
                self._set_field(*text.split(":", 1))
                continue
            fields, self._fields = self._fields, {}
            if "data" in fields:
                kind = fields.get("event", "message")
                yield ReceivedEvent(self._last_id, kind, json.loads(fields["data"]))

    def _set_field(self, name: str, value: str = "") -> None:
        value = value.removeprefix(" ")
        if not name:
            self.comments.append(value)
        elif name == "retry":
            self.retry.append(int(value))
        elif name == "id":
            self._last_id = value
        else:
            before = self._fields.get(name)
            self._fields[name] = value if before is None else f"{before}\n{value}"

    async def take(self, count: int, within_s: float = 60) -> list[ReceivedEvent]:
        """Return so many events, or those until the end; raises TimeoutError if too few arrive."""
        got = []
        async with asyncio.timeout(within_s):
            async for event in self.events():
                got.append(event)
                if len(got) == count:
                    break
        return got
