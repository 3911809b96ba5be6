"""How much is taken on at once: requests in flight, and large batches in threads.

What is too much is refused at once with 429 `overloaded`, so that what is taken on is answered in
time. 503 is left to what does not work.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from aiohttp import web

from volsvc.web.problems import OVERLOADED, ProblemError

Result = TypeVar("Result")

BATCH_THREADS = 2
# Large batches that are worked at or wait for a thread.
MAX_BATCHES = 16
LONGEST_RETRY_S = 30
_SMOOTHING = 0.05


def overloaded(detail: str, wait_s: float) -> ProblemError:
    """The refusal, with the seconds after which another attempt makes sense."""
    retry_s = min(max(math.ceil(wait_s), 1), LONGEST_RETRY_S)
    return ProblemError(OVERLOADED, detail, headers={"Retry-After": str(retry_s)})


class Gate:
    """The connections with a request that has come and is not answered yet.

    Those taken on are counted apart from those for which there was no room when they came. Were one
    refused for all that have come since, a flood would have every request refused for the sake of
    the next. They are sets and not counts, so that however a request ends none stays for ever.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: set[object] = set()
        self._refused: set[object] = set()
        self._mean_s = 0.0

    def __len__(self) -> int:
        return len(self._taken) + len(self._refused)

    @property
    def full(self) -> bool:
        """Whether there is no room for another request."""
        return len(self._taken) >= self._most

    def came(self, connection: object) -> None:
        """The head of a request has come over this connection."""
        if connection in self._taken or connection in self._refused:
            return
        (self._refused if self.full else self._taken).add(connection)

    def left(self, connection: object) -> None:
        """Its request is answered, or will take long and cost little, or the client is gone."""
        self._taken.discard(connection)
        self._refused.discard(connection)

    def check(self, connection: object) -> None:
        """Raises ProblemError when the request over this connection is one too many."""
        if connection not in self._refused:
            return
        if self.full:
            detail = f"{len(self)} requests are in flight"
            raise overloaded(detail, len(self) * self._mean_s)
        self._refused.discard(connection)
        self._taken.add(connection)

    def took(self, seconds: float) -> None:
        """A request was answered after so long; what is refused is told to wait accordingly."""
        self._mean_s += _SMOOTHING * (seconds - self._mean_s)


class Workers:
    """Threads for batches that would hold up the event loop."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(BATCH_THREADS, thread_name_prefix="batch")
        self._batches = 0
        self._mean_s = 0.0

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of `work`; raises ProblemError when too much waits already."""
        if self._batches >= MAX_BATCHES:
            wait_s = self._batches * self._mean_s / BATCH_THREADS
            raise overloaded(f"{self._batches} large batches are under way", wait_s)
        self._batches += 1
        started = time.perf_counter()
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        # Whoever asked may be gone before the thread is free again.
        future.add_done_callback(self._done)
        try:
            return await asyncio.shield(future)
        finally:
            self._mean_s += _SMOOTHING * (time.perf_counter() - started - self._mean_s)

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._batches -= 1
        if not future.cancelled():
            future.exception()

    def close(self) -> None:
        """Let what has begun end; start nothing else."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Turns:
    """Long answers, one at a time, with a turn of everybody else between two."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._lock.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


GATE = web.AppKey("gate", Gate)
TURNS = web.AppKey("turns", Turns)
WORKERS = web.AppKey("workers", Workers)
