"""The client for code without asyncio: the other client on an event loop in its own thread."""

from __future__ import annotations

import asyncio
import ssl as tls
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from volsvc.client import calls
from volsvc.client.asynchronous import AsyncClient, copy_signature
from volsvc.client.calls import ApiCall
from volsvc.client.errors import ClientError
from volsvc.client.events import Event
from volsvc.client.retries import Retries
from volsvc.web.schemas.base import Answer

P = ParamSpec("P")
A = TypeVar("A", bound=Answer)
T = TypeVar("T")


def _blocking_method(build: Callable[P, ApiCall[A]]) -> Callable[Concatenate[Client, P], A]:
    def method(self: Client, /, *args: P.args, **options: P.kwargs) -> A:
        return self.send(build(*args, **options))

    copy_signature(method, build)
    return method


async def _next(events: AsyncGenerator[Event, None]) -> Event:
    return await anext(events)


class Client:
    """A client of one service, for any number of threads.

    Every call may raise ClientError. `timeout_s` bounds one attempt. `key` is sent in a header.
    Close the client after use, or use it as a context manager.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 10.0,
        retries: Retries | None = None,
        ssl: tls.SSLContext | None = None,
    ) -> None:
        """`ssl` is for certificates that the system does not trust."""
        self._client = AsyncClient(url, key, timeout_s=timeout_s, retries=retries, ssl=ssl)
        self._loop = asyncio.new_event_loop()
        # A daemon thread, so that a program which does not close the client can exit.
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread; does nothing the second time."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # A method for each call of the service, as in AsyncClient.
    predict = _blocking_method(calls.predict)
    latest = _blocking_method(calls.latest)
    latest_all = _blocking_method(calls.latest_all)
    history = _blocking_method(calls.history)
    minutes = _blocking_method(calls.minutes)
    outcomes = _blocking_method(calls.outcomes)
    track_record = _blocking_method(calls.track_record)
    events = _blocking_method(calls.events)
    health = _blocking_method(calls.health)
    version = _blocking_method(calls.version)
    models = _blocking_method(calls.models)
    model_history = _blocking_method(calls.model_history)
    activate = _blocking_method(calls.activate)
    rollback = _blocking_method(calls.rollback)
    quality = _blocking_method(calls.quality)
    drift = _blocking_method(calls.drift)
    metrics = _blocking_method(calls.metrics)

    @property
    def retried(self) -> int:
        """The attempts beyond the first of all calls and streams so far."""
        return self._client.retried

    def send(self, call: ApiCall[A]) -> A:
        """Make a call, with retries; raises the ClientError of the last attempt."""
        return self._run(self._client.send(call))

    def stream(
        self, symbols: Sequence[str] | None = None, *, last_id: str | None = None
    ) -> Iterator[Event]:
        """Yield events as `AsyncClient.stream` does; the loop may be left at any time."""
        events = self._client.stream(symbols, last_id=last_id)
        try:
            while True:
                yield self._run(_next(events))
        finally:
            self._run(events.aclose())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            # A coroutine that is never run warns when it is collected.
            work.close()
            raise ClientError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # Above all KeyboardInterrupt: the answer is not wanted any more.
            future.cancel()
            raise
