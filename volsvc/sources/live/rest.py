"""A venue's public REST API: paced, with timeouts, retries and respect for Retry-After."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import aiohttp

from volsvc.backoff import Backoff
from volsvc.domain import FeedError

REQUEST_TIMEOUT_S = 10.0
MAX_BODY = 16 * 1024 * 1024
# A venue that asks for a longer pause than this is asked again after it all the same.
LONGEST_PAUSE_S = 120.0


class RestClient:
    """GETs of one venue, at most `per_s` a second."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        per_s: float,
        report: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._interval_s = 1 / per_s
        self._report = report
        self._free_at = 0.0
        self._clock = asyncio.get_running_loop().time

    async def get(self, path: str, attempts: int | None = None) -> bytes:
        """The body of an answer; waits and tries again while the venue is busy or away.

        Raises FeedError for a refusal (4xx), and after so many attempts (None: never).
        """
        backoff = Backoff(0.25, 10.0)
        attempt = 0
        while True:
            await self._turn()
            attempt += 1
            body, error, pause_s = await self._attempt(path)
            if body is not None:
                self._report("ok")
                return body
            self._report("throttled" if error.reason == "throttled" else "failed")
            if error.reason == "rest" or attempt == attempts:
                raise error
            await asyncio.sleep(min(LONGEST_PAUSE_S, max(pause_s, backoff.delay_s())))

    async def _turn(self) -> None:
        """Wait for the next free slot of the rate."""
        now = self._clock()
        at = max(now, self._free_at)
        self._free_at = at + self._interval_s
        if at > now:
            await asyncio.sleep(at - now)

    async def _attempt(self, path: str) -> tuple[bytes | None, FeedError, float]:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        try:
            async with self._session.get(self._base_url + path, timeout=timeout) as response:
                body = await response.content.read(MAX_BODY)
                while not response.content.at_eof() and len(body) < MAX_BODY:
                    body += await response.content.read(MAX_BODY - len(body))
                return _judge(response, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            text = str(error) or type(error).__name__
            return None, FeedError("unreachable", f"{self._base_url}: {text}"[:200]), 0.0


@asynccontextmanager
async def rest_client(base_url: str, per_s: float) -> AsyncIterator[RestClient]:
    """A client with connections of its own."""
    async with aiohttp.ClientSession() as session:
        yield RestClient(session, base_url, per_s)


def _judge(response: aiohttp.ClientResponse, body: bytes) -> tuple[bytes | None, FeedError, float]:
    told = f"{response.url.path}: {response.status} {body[:120].decode(errors='replace')}"
    if response.status == 429:
        return None, FeedError("throttled", told), _pause_s(response.headers.get("Retry-After"))
    if response.status >= 500:
        return None, FeedError("busy", told), _pause_s(response.headers.get("Retry-After"))
    error = FeedError("rest", told)
    return (body if response.status == 200 else None), error, 0.0


def _pause_s(header: str | None) -> float:
    """Seconds that a Retry-After asks for: a number or a date; 0 without one."""
    if header is None:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return 0.0
