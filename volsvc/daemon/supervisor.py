"""Restarts parts after transient errors, and ends their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from volsvc.backoff import Backoff, asked_to_end
from volsvc.domain import BusUnavailableError

# Runs a part; the argument is called each time that it has done some of its work.
Part = Callable[[Callable[[], None]], Awaitable[None]]


class RestartListener(Protocol):
    """Receives restarts, for logs and metrics."""

    def restarting(self, part: str, error: BaseException, delay_s: float) -> None:
        """Report a part that failed and will run again after the delay."""
        ...

    def working(self, part: str) -> None:
        """Report that a part which had failed works again."""
        ...


def is_transient(error: BaseException) -> bool:
    """Return true if the part may succeed when it runs again; other errors end the process."""
    return isinstance(error, BusUnavailableError)


async def supervise(name: str, part: Part, backoff: Backoff, listener: RestartListener) -> None:
    """Run a part until it ends by itself, and again after a transient error; raises any other."""
    clock = asyncio.get_running_loop().time
    failed = False

    def worked() -> None:
        nonlocal failed
        if failed:
            failed = False
            listener.working(name)

    while True:
        started = clock()
        failure = await _failure(part(worked))
        if failure is None:
            worked()
            return
        failed = True
        # Not at the first sign of work, because a part may fail right after it each time.
        if clock() - started > backoff.max_s:
            backoff.reset()
        delay = backoff.delay_s()
        listener.restarting(name, failure, delay)
        await asyncio.sleep(delay)


async def _failure(running: Awaitable[None]) -> Exception | None:
    """Return the transient error with which a part ends, None if it ends by itself."""
    try:
        await running
    except asyncio.CancelledError:
        if asked_to_end():
            raise
        # Tasks of Kafka's client end cancelled after a minute without a broker.
        return BusUnavailableError("a task of the client's was cancelled")
    except Exception as error:
        if not is_transient(error):
            raise
        return error
    return None


async def finish(task: asyncio.Task[None] | None, *, within_s: float, again_s: float = 2.0) -> None:
    """Wait `within_s` for a task to end by itself, then cancel it every `again_s` until it ends.

    One cancellation may not be enough: before Python 3.12 `asyncio.wait_for`, which Kafka's client
    uses, loses one that comes together with a result.
    """
    if task is None:
        return
    if within_s:
        await asyncio.wait({task}, timeout=within_s)
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=again_s)
