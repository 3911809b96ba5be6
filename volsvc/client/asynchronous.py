"""The client for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import ssl as tls
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from volsvc.client import calls
from volsvc.client.calls import ApiCall
from volsvc.client.errors import ClientError, UnreachableError
from volsvc.client.events import Event, EventParser
from volsvc.client.http_session import HttpSession
from volsvc.client.retries import Retries, RetryState
from volsvc.web.schemas.base import Answer

P = ParamSpec("P")
A = TypeVar("A", bound=Answer)


def copy_signature(method: Callable[..., Any], build: Callable[..., Any]) -> None:
    """Give a method the name, docstring and arguments of the function that builds its call."""
    method.__name__, method.__doc__ = build.__name__, build.__doc__
    # For `help` and editors, which would show *args and **options.
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    signature = inspect.signature(build)
    vars(method)["__signature__"] = signature.replace(
        parameters=[own, *signature.parameters.values()]
    )


def _async_method(
    build: Callable[P, ApiCall[A]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, A]]:
    async def method(self: AsyncClient, /, *args: P.args, **options: P.kwargs) -> A:
        return await self.send(build(*args, **options))

    copy_signature(method, build)
    return method


class AsyncClient:
    """A client of one service, for any number of tasks of one event loop.

    Every call may raise ClientError. `timeout_s` bounds one attempt. `key` is sent in a header.
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
        self._http = HttpSession(url, key, timeout_s, ssl)
        self._retries = retries or Retries()
        # Attempts beyond the first of all calls and streams so far.
        self.retried = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    # A method for each call of the service, with the signature and docstring of its function.
    predict = _async_method(calls.predict)
    latest = _async_method(calls.latest)
    latest_all = _async_method(calls.latest_all)
    history = _async_method(calls.history)
    minutes = _async_method(calls.minutes)
    outcomes = _async_method(calls.outcomes)
    track_record = _async_method(calls.track_record)
    events = _async_method(calls.events)
    health = _async_method(calls.health)
    version = _async_method(calls.version)
    models = _async_method(calls.models)
    model_history = _async_method(calls.model_history)
    activate = _async_method(calls.activate)
    rollback = _async_method(calls.rollback)
    quality = _async_method(calls.quality)
    drift = _async_method(calls.drift)
    metrics = _async_method(calls.metrics)

    async def send(self, call: ApiCall[A]) -> A:
        """Make a call, with retries; raises the ClientError of the last attempt."""
        attempts = RetryState(self._retries)
        while True:
            try:
                return call.parse(await self._http.fetch(call))
            except ClientError as error:
                wait_s = attempts.wait_s(error, idempotent=call.idempotent)
            await self._wait_before_retry(wait_s)

    async def stream(
        self, symbols: Sequence[str] | None = None, *, last_id: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield events as they happen, of these symbols or of all, without end.

        A stream without `last_id` begins with a Resync. A broken stream is resumed after the last
        event, or with a Resync if the service no longer has that event. Raises ClientError if the
        stream cannot be resumed.
        """
        attempts, parser = RetryState(self._retries), EventParser(last_id)
        while True:
            try:
                async with aclosing(self._read_connection(symbols, parser)) as events:
                    async for event in events:
                        # Not by a connection alone: one that ends at once is no success.
                        attempts.reset()
                        yield event
            except ClientError as error:
                wait_s = attempts.wait_s(error)
            await self._wait_before_retry(wait_s + parser.retry_s)
            # A new one, because an event that was cut is sent again as a whole.
            parser = EventParser(parser.last_id)

    async def _read_connection(
        self, symbols: Sequence[str] | None, parser: EventParser
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of one connection; raises UnreachableError at its end."""
        async with self._http.stream(calls.stream(symbols, parser.last_id)) as chunks:
            async for chunk in chunks:
                for event in parser.feed(chunk):
                    yield event
        raise UnreachableError("the service ended the stream")

    async def _wait_before_retry(self, wait_s: float) -> None:
        self.retried += 1
        await asyncio.sleep(wait_s)
