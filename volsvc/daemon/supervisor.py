"""Restarting a part after a transient error: which error is which, and how long to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from volsvc.backoff import Backoff, asked_to_end
from volsvc.domain import BusUnavailableError


class RestartListener(Protocol):
    """Hears of restarts, for logs and metrics."""

    def restarting(self, part: str, error: BaseException, delay_s: float) -> None:
        """The part failed and will run again after the delay."""
        ...


def is_transient(error: BaseException) -> bool:
    """Whether the same part may succeed if it is run again; all else is fatal to the process."""
    return isinstance(error, BusUnavailableError)


async def supervise(
    name: str, part: Callable[[], Awaitable[None]], backoff: Backoff, listener: RestartListener
) -> None:
    """Run a part until it ends by itself; again after a transient error, else raise it."""
    clock = asyncio.get_running_loop().time
    while True:
        started = clock()
        try:
            await part()
            return
        except asyncio.CancelledError:
            if asked_to_end():
                raise
            failure: Exception = BusUnavailableError("a task of the client's was cancelled")
        except Exception as error:
            if not is_transient(error):
                raise
            failure = error
        if clock() - started > backoff.max_s:
            backoff.reset()
        delay = backoff.delay_s()
        listener.restarting(name, failure, delay)
        await asyncio.sleep(delay)


async def finish(task: asyncio.Task[None] | None, *, within_s: float, again_s: float = 2.0) -> None:
    """Wait for a task to end by itself for a while, then cancel it until it has ended.

    Once may not be enough: before Python 3.12 `asyncio.wait_for`, which Kafka's client uses, loses
    a cancellation that comes together with a result.
    """
    if task is None:
        return
    if within_s:
        await asyncio.wait({task}, timeout=within_s)
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=again_s)
