"""One HTTP request and its answer, without a retry."""

from __future__ import annotations

import ssl as tls
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from volsvc import __version__
from volsvc.backoff import retry_after_s
from volsvc.client.calls import ApiCall
from volsvc.client.errors import ClientError, UnexpectedAnswerError, UnreachableError, error_of
from volsvc.safe_io.bodies import UnreadableAnswerError, read_bounded

_JSON: Final = {"Content-Type": "application/json"}
# A stream without a byte for so long is dead: the service sends at least a comment every 15 s.
STREAM_SILENCE_S: Final = 45.0
# Bytes; the newest forecasts of ten thousand symbols take a third of it.
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024


class HttpSession:
    """Sends requests to one service over persistent connections, in one event loop.

    The key is sent in a header and nowhere else, and only to this service: redirects are refused.
    """

    def __init__(self, url: str, key: str | None, timeout_s: float, ssl: tls.SSLContext | None):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClientError("url: must be an address such as http://127.0.0.1:8000")
        if parts.username or parts.query or parts.fragment:
            raise ClientError("url: must have no user, query or fragment; pass the key as `key`")
        # A line break in it would start another header.
        if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key):
            raise ClientError("key: must be one word as `volsvc keys new` printed it")
        self._url = url.rstrip("/")
        self._headers = {"User-Agent": f"volsvc-client/{__version__}"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._stream_timeout = aiohttp.ClientTimeout(
            sock_connect=timeout_s, sock_read=STREAM_SILENCE_S
        )
        self._ssl = ssl or True
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def fetch(self, call: ApiCall[Any]) -> bytes:
        """Return the body of a successful answer; raises ClientError."""
        async with self._open(call, self._timeout) as response:
            answer = await _read_body(response, self._url)
            # A proxy may answer the same status with a page of its own.
            ours = response.content_type == "application/json"
            if response.status != 200 and not (response.status == call.also_status and ours):
                raise _answer_error(response, answer)
            return answer

    @asynccontextmanager
    async def stream(self, call: ApiCall[Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an endless answer and yield its bytes as they arrive; raises ClientError."""
        async with self._open(call, self._stream_timeout) as response:
            if response.status != 200:
                raise _answer_error(response, await _read_body(response, self._url))
            async with aclosing(_chunks(response, self._url)) as chunks:
                yield chunks

    @asynccontextmanager
    async def _open(
        self, call: ApiCall[Any], limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            # Not in the constructor, because a session belongs to the running event loop.
            jar = aiohttp.DummyCookieJar()
            self._session = aiohttp.ClientSession(headers=self._headers, cookie_jar=jar)
        try:
            response = await self._session.request(
                call.method,
                # The names in the path are quoted already.
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


async def _read_body(response: aiohttp.ClientResponse, url: str) -> bytes:
    try:
        return await read_bounded(response.content.iter_any(), MAX_ANSWER_BYTES)
    except UnreadableAnswerError as error:
        raise UnexpectedAnswerError(f"{url}: {error}") from error
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


def _answer_error(response: aiohttp.ClientResponse, body: bytes) -> ClientError:
    if response.status < 400:
        place = response.headers.get("Location", "nowhere")
        return UnexpectedAnswerError(f"the answer is {response.status}, a redirect to {place}")
    return error_of(response.status, body, retry_after_s(response.headers.get("Retry-After")))
