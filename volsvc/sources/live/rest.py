"""A client of a venue's public REST API: rate-limited, with timeouts and retries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp

from volsvc.backoff import Backoff, retry_after_s
from volsvc.domain import FeedError
from volsvc.safe_io.bodies import UnreadableAnswerError, read_bounded

REQUEST_TIMEOUT_S = 10.0
# Bytes; a page of a thousand trades takes a twentieth of it, and is decoded in milliseconds.
MAX_BODY = 4 * 1024 * 1024
# A longer Retry-After is cut to this.
LONGEST_PAUSE_S = 120.0


class _Failure(NamedTuple):
    """A failed attempt; `pause_s` is the pause that the venue asks for."""

    error: FeedError
    pause_s: float = 0.0


class RestClient:
    """Sends GET requests to one venue, at most `per_s` a second."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        per_s: float,
        report: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        """`report` is called with the outcome of each request: ok, throttled or failed."""
        self._session = session
        self._base_url = base_url.rstrip("/")
        self.per_s = per_s
        self._report = report
        self._next_slot_s = 0.0
        self._clock = asyncio.get_running_loop().time

    async def get(self, path: str, attempts: int | None = None) -> bytes:
        """Return the body of the answer; retries while the venue is busy or unreachable.

        Raises FeedError if the venue refuses (4xx), or after so many attempts (None: never).
        """
        backoff = Backoff(0.25, 10.0)
        attempt = 0
        while True:
            await self._wait_for_slot()
            attempt += 1
            result = await self._attempt(path)
            if isinstance(result, bytes):
                self._report("ok")
                return result
            error = result.error
            self._report("throttled" if error.reason == "throttled" else "failed")
            # The same request would be refused again, and cost a part of the rate limit.
            if error.reason == "rest" or attempt == attempts:
                raise error
            await asyncio.sleep(min(LONGEST_PAUSE_S, max(result.pause_s, backoff.delay_s())))

    async def _wait_for_slot(self) -> None:
        # The slot is taken before the wait, so that concurrent callers get different ones.
        now = self._clock()
        slot_s = max(now, self._next_slot_s)
        self._next_slot_s = slot_s + 1 / self.per_s
        if slot_s > now:
            await asyncio.sleep(slot_s - now)

    async def _attempt(self, path: str) -> bytes | _Failure:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        try:
            async with self._session.get(self._base_url + path, timeout=timeout) as response:
                body = await read_bounded(response.content.iter_any(), MAX_BODY)
                return body if response.status == 200 else _failure(response, body)
        except UnreadableAnswerError as error:
            return _Failure(FeedError("rest", f"{self._base_url}{path}: {error}"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # TimeoutError has no text of its own.
            text = str(error) or type(error).__name__
            return _Failure(FeedError("unreachable", f"{self._base_url}: {text}"[:200]))


@asynccontextmanager
async def rest_client(base_url: str, per_s: float) -> AsyncIterator[RestClient]:
    """Open a client with connections of its own."""
    async with aiohttp.ClientSession() as session:
        yield RestClient(session, base_url, per_s)


def _failure(response: aiohttp.ClientResponse, body: bytes) -> _Failure:
    detail = f"{response.url.path}: {response.status} {body[:120].decode(errors='replace')}"
    pause_s = retry_after_s(response.headers.get("Retry-After")) or 0.0
    if response.status == 429:
        return _Failure(FeedError("throttled", detail), pause_s)
    if response.status >= 500:
        return _Failure(FeedError("busy", detail), pause_s)
    return _Failure(FeedError("rest", detail))
