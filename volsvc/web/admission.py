"""Admission control: requests in flight, large batches in threads, and turns of long answers.

Excess load is refused at once with 429 `overloaded`, so that admitted requests are answered in
time. 503 is reserved for failures: it is what pages an operator.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiohttp import web

from volsvc.web.problem_types import OVERLOADED, REQUEST_TIMEOUT
from volsvc.web.problems import ProblemError

Result = TypeVar("Result")

BATCH_THREADS = 2
# Large batches that run or wait for a thread; more than this would wait longer than a client does.
MAX_BATCHES = 16
LONGEST_RETRY_S = 30
# Weight of the newest duration in the running mean: about the last twenty count.
_SMOOTHING = 0.05


def overloaded(detail: str, wait_s: float) -> ProblemError:
    """Return the refusal, with a Retry-After of about `wait_s` seconds."""
    retry_s = min(max(math.ceil(wait_s), 1), LONGEST_RETRY_S)
    return ProblemError(OVERLOADED, detail, headers={"Retry-After": str(retry_s)})


class Gate:
    """Limits the requests in flight: those that have arrived and are not answered yet.

    A request is judged by the room there was when it arrived. Judged by what arrived later, in a
    flood every request would be refused for the sake of the next.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Sets of connections and not counts: however a request ends, none is counted for ever.
        self._taken: set[object] = set()
        self._refused: set[object] = set()
        self._mean_s = 0.0

    def __len__(self) -> int:
        return len(self._taken) + len(self._refused)

    @property
    def full(self) -> bool:
        """True if there is no room for another request."""
        return len(self._taken) >= self._most

    def enter(self, connection: object) -> None:
        """Count a request whose head has arrived over this connection."""
        if connection in self._taken or connection in self._refused:
            return
        (self._refused if self.full else self._taken).add(connection)

    def leave(self, connection: object) -> None:
        """Stop counting it: it is answered, became a stream, or its client is gone."""
        self._taken.discard(connection)
        self._refused.discard(connection)

    def check(self, connection: object) -> None:
        """Raise ProblemError if there was no room for the request of this connection."""
        if connection not in self._refused:
            return
        # Room that has come free meanwhile is used.
        if self.full:
            detail = f"{len(self)} requests are in flight"
            raise overloaded(detail, len(self) * self._mean_s)
        self._refused.discard(connection)
        self._taken.add(connection)

    def record(self, duration_s: float) -> None:
        """Learn the time of an answer, from which Retry-After is estimated."""
        self._mean_s += _SMOOTHING * (duration_s - self._mean_s)


class Workers:
    """Threads for batches that would block the event loop."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(BATCH_THREADS, thread_name_prefix="batch")
        self._batches = 0
        self._mean_s = 0.0

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return the result of `work`; raises ProblemError if too many batches wait already."""
        if self._batches >= MAX_BATCHES:
            wait_s = self._batches * self._mean_s / BATCH_THREADS
            raise overloaded(f"{self._batches} large batches are under way", wait_s)
        self._batches += 1
        started = time.perf_counter()
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        # The client may be gone before the thread is free again: the thread decides when it ends.
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
        """Let running batches end and start no other."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Turns:
    """A lock for long answers: one at a time, with a turn of the event loop before each."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def of(self, request: web.Request) -> AsyncIterator[None]:
        """Wait for the turn of a request; raises ProblemError if its client is gone by then."""
        async with self._lock:
            # Whoever else waits for the loop goes first: many long answers in a row would hold it.
            await asyncio.sleep(0)
            if request.transport is None:
                # An answer that nobody reads would only keep those waiting who do.
                raise ProblemError(REQUEST_TIMEOUT, "the client was gone before its turn came")
            yield


GATE = web.AppKey("gate", Gate)
TURNS = web.AppKey("turns", Turns)
WORKERS = web.AppKey("workers", Workers)
