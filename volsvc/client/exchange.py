"""One request and its answer over HTTP, without a second try."""

from __future__ import annotations

import ssl as tls
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from volsvc import __version__
from volsvc.client.calls import Call
from volsvc.client.errors import ClientError, UnexpectedAnswerError, UnreachableError, error_of
from volsvc.client.retries import retry_after_s

_JSON: Final = {"Content-Type": "application/json"}
# A stream without a byte for so long is dead: the service sends one at least every 15 seconds.
SILENCE_S: Final = 45.0


class Exchange:
    """Sends requests to one service over connections that are kept; for one event loop.

    The key goes into a header and nowhere else, and only to this service: redirects are refused.
    """

    def __init__(self, url: str, key: str | None, timeout_s: float, ssl: tls.SSLContext | None):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClientError("url: must be an address such as http://127.0.0.1:8000")
        if parts.username or parts.query or parts.fragment:
            raise ClientError("url: must have no user, query or fragment; give the key as `key`")
        if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key):
            raise ClientError("key: must be one word as `volsvc keys new` printed it")
        self._url = url.rstrip("/")
        self._headers = {"User-Agent": f"volsvc-client/{__version__}"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._patient = aiohttp.ClientTimeout(sock_connect=timeout_s, sock_read=SILENCE_S)
        self._ssl = ssl or True
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End its connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, call: Call[Any]) -> bytes:
        """The body of a good answer; raises ClientError."""
        async with self._open(call, self._timeout) as response:
            answer = await _read(response, self._url)
            ours = response.content_type == "application/json"
            if response.status != 200 and not (response.status == call.also and ours):
                raise _error(response, answer)
            return answer

    @asynccontextmanager
    async def stream(self, call: Call[Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of an answer without end, as they come; raises ClientError."""
        async with self._open(call, self._patient) as response:
            if response.status != 200:
                raise _error(response, await _read(response, self._url))
            async with aclosing(_chunks(response, self._url)) as chunks:
                yield chunks

    @asynccontextmanager
    async def _open(
        self, call: Call[Any], limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            # Here and not in the constructor, because a session belongs to the running loop.
            jar = aiohttp.DummyCookieJar()
            self._session = aiohttp.ClientSession(headers=self._headers, cookie_jar=jar)
        try:
            response = await self._session.request(
                call.method,
                # A path comes with its names quoted.
                URL(self._url + call.path, encoded=True).with_query(call.query),
                data=call.body,
                headers={**_JSON, **call.headers} if call.body is not None else call.headers,
                timeout=limits,
                ssl=self._ssl,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(self._url, error) from error
        async with response:
            yield response


async def _read(response: aiohttp.ClientResponse, url: str) -> bytes:
    try:
        return await response.read()
    except (aiohttp.ClientError, OSError) as error:
        raise _unreachable(url, error) from error


async def _chunks(response: aiohttp.ClientResponse, url: str) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise _unreachable(url, error) from error


def _unreachable(url: str, error: Exception) -> UnreachableError:
    reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
    return UnreachableError(f"{url}: {reason or type(error).__name__}")


def _error(response: aiohttp.ClientResponse, body: bytes) -> ClientError:
    if response.status < 400:
        place = response.headers.get("Location", "nowhere")
        return UnexpectedAnswerError(f"the answer is {response.status} and leads to {place}")
    return error_of(response.status, body, retry_after_s(response.headers.get("Retry-After")))
