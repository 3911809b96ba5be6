"""The client for code without asyncio: the other one, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl as tls
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from volsvc.client import calls
from volsvc.client.asynchronous import AsyncClient, as_method
from volsvc.client.calls import Call
from volsvc.client.errors import ClientError
from volsvc.client.events import Event
from volsvc.client.retries import Retries
from volsvc.web.schemas.base import Answer

P = ParamSpec("P")
A = TypeVar("A", bound=Answer)
T = TypeVar("T")


def _waiting(build: Callable[P, Call[A]]) -> Callable[Concatenate[Client, P], A]:
    def method(self: Client, /, *args: P.args, **options: P.kwargs) -> A:
        return self.send(build(*args, **options))

    as_method(method, build)
    return method


async def _next(events: AsyncGenerator[Event, None]) -> Event:
    return await anext(events)


class Client:
    """Calls one service; it may be used by many threads.

    Every call raises ClientError; `timeout_s` bounds one attempt. `key` is sent as a header. Close
    it, or use it in a `with`.
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
        """`ssl` is for certificates that the system does not know."""
        self._client = AsyncClient(url, key, timeout_s=timeout_s, retries=retries, ssl=ssl)
        self._loop = asyncio.new_event_loop()
        # A daemon, so that a program that forgets to close it can end.
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End its connections and its thread; a second time does nothing."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    predict = _waiting(calls.predict)
    latest = _waiting(calls.latest)
    latest_all = _waiting(calls.latest_all)
    history = _waiting(calls.history)
    health = _waiting(calls.health)
    version = _waiting(calls.version)
    models = _waiting(calls.models)
    model_history = _waiting(calls.model_history)
    activate = _waiting(calls.activate)
    rollback = _waiting(calls.rollback)
    quality = _waiting(calls.quality)
    drift = _waiting(calls.drift)
    metrics = _waiting(calls.metrics)

    @property
    def retried(self) -> int:
        """Attempts beyond the first, of all calls and streams so far."""
        return self._client.retried

    def send(self, call: Call[A]) -> A:
        """Make a call, again where that may help; raises the ClientError of the last attempt."""
        return self._run(self._client.send(call))

    def stream(
        self, symbols: Sequence[str] | None = None, *, last_id: str | None = None
    ) -> Iterator[Event]:
        """Events as they come, as `AsyncClient.stream` has them; leave the loop when you like."""
        events = self._client.stream(symbols, last_id=last_id)
        try:
            while True:
                yield self._run(_next(events))
        finally:
            self._run(events.aclose())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise ClientError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C, above all: nobody waits for the answer any more.
            future.cancel()
            raise
