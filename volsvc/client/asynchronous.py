"""The client for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import ssl as tls
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from volsvc.client import calls
from volsvc.client.calls import Call
from volsvc.client.errors import ClientError, UnreachableError
from volsvc.client.events import Event, EventParser
from volsvc.client.exchange import Exchange
from volsvc.client.retries import Patience, Retries
from volsvc.web.schemas.base import Answer

P = ParamSpec("P")
A = TypeVar("A", bound=Answer)


def as_method(method: Callable[..., Any], build: Callable[..., Any]) -> None:
    """Let a method that makes a call look to `help` as the function that builds the call."""
    method.__name__, method.__doc__ = build.__name__, build.__doc__
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    signature = inspect.signature(build)
    vars(method)["__signature__"] = signature.replace(
        parameters=[own, *signature.parameters.values()]
    )


def _awaited(
    build: Callable[P, Call[A]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, A]]:
    async def method(self: AsyncClient, /, *args: P.args, **options: P.kwargs) -> A:
        return await self.send(build(*args, **options))

    as_method(method, build)
    return method


class AsyncClient:
    """Calls one service; it may be used by many tasks of one event loop.

    Every call raises ClientError; `timeout_s` bounds one attempt. `key` is sent as a header.
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
        self._exchange = Exchange(url, key, timeout_s, ssl)
        self._retries = retries or Retries()
        # Attempts beyond the first, of all calls and streams so far.
        self.retried = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End its connections."""
        await self._exchange.close()

    predict = _awaited(calls.predict)
    latest = _awaited(calls.latest)
    latest_all = _awaited(calls.latest_all)
    history = _awaited(calls.history)
    health = _awaited(calls.health)
    version = _awaited(calls.version)
    models = _awaited(calls.models)
    model_history = _awaited(calls.model_history)
    activate = _awaited(calls.activate)
    rollback = _awaited(calls.rollback)
    quality = _awaited(calls.quality)
    drift = _awaited(calls.drift)
    metrics = _awaited(calls.metrics)

    async def send(self, call: Call[A]) -> A:
        """Make a call, again where that may help; raises the ClientError of the last attempt."""
        patience = Patience(self._retries)
        while True:
            try:
                return call.read(await self._exchange.ask(call))
            except ClientError as error:
                wait_s = patience.wait_s(error, repeatable=call.repeatable)
            await self._wait(wait_s)

    async def stream(
        self, symbols: Sequence[str] | None = None, *, last_id: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """Events as they come, of these symbols or of all, without end.

        Where the stream breaks it goes on after the last event; a Resync comes first, and when the
        service does not know that event any more. Raises ClientError when it cannot be had again.
        """
        patience, parser = Patience(self._retries), EventParser(last_id)
        while True:
            try:
                async with aclosing(self._follow(symbols, parser)) as events:
                    async for event in events:
                        patience.reset()
                        yield event
            except ClientError as error:
                wait_s = patience.wait_s(error)
            await self._wait(wait_s + parser.retry_s)
            parser = EventParser(parser.last_id)

    async def _follow(
        self, symbols: Sequence[str] | None, parser: EventParser
    ) -> AsyncGenerator[Event, None]:
        """The events of one connection; raises UnreachableError at its end."""
        async with self._exchange.stream(calls.stream(symbols, parser.last_id)) as chunks:
            async for chunk in chunks:
                for event in parser.feed(chunk):
                    yield event
        raise UnreachableError("the service has ended the stream")

    async def _wait(self, wait_s: float) -> None:
        self.retried += 1
        await asyncio.sleep(wait_s)
