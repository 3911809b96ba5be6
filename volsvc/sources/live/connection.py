"""One WebSocket connection to a venue: subscribe, read, and reconnect."""

from __future__ import annotations

import asyncio

import aiohttp

from volsvc.backoff import ends_within, retry_after_s
from volsvc.domain import FeedError
from volsvc.sources.base import FeedEvents
from volsvc.sources.live.message_reader import (
    MAX_MESSAGE_MIB,
    MIB,
    ConnectionOptions,
    DataHandler,
    MessageReader,
)
from volsvc.sources.live.reconnect import DeclinedError, ReconnectPolicy

# Time that a venue may take to answer our close frame.
CLOSE_TIMEOUT_S = 0.5


class Connection:
    """Keeps one connection to a venue open until it is cancelled."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        options: ConnectionOptions,
        events: FeedEvents,
        handler: DataHandler,
    ) -> None:
        self._session = session
        self._options = options
        self._events = events
        self._handler = handler
        clock = asyncio.get_running_loop().time
        self._policy = ReconnectPolicy(options.settings.reconnect_max_s, clock)

    async def run(self) -> None:
        """Connect and read until cancelled; waits longer after each attempt without data."""
        number, _, symbols, _ = self._options
        self._events.connecting(number, symbols)
        while True:
            # Without the symbols that the venue does not know: it may refuse the others with them.
            asked = self._policy.refused.without(symbols)
            if not asked:
                await asyncio.sleep(self._policy.refused.wait_s())
                continue
            try:
                await self._connect_and_read(self._options._replace(symbols=asked))
            except FeedError as error:
                self._events.disconnected(number, symbols, error)
                delay_s = self._policy.delay_s(error)
            await asyncio.sleep(delay_s)

    async def _connect_and_read(self, options: ConnectionOptions) -> None:
        """Open a connection and read it until it ends, which always raises FeedError."""
        try:
            async with asyncio.timeout(options.settings.connect_timeout_s):
                socket = await self._session.ws_connect(
                    options.url, max_msg_size=MAX_MESSAGE_MIB * MIB
                )
        except aiohttp.ClientResponseError as error:
            raise _declined(options.url, error) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            detail = f"{options.url}: {error or type(error).__name__}"[:200]
            raise FeedError("connect", detail) from error
        try:
            await self._subscribe(socket, options)
            reader = MessageReader(socket, options, self._events, self._handler, self._policy)
            await reader.run()
        finally:
            await _close(socket)

    async def _subscribe(
        self, socket: aiohttp.ClientWebSocketResponse, options: ConnectionOptions
    ) -> None:
        _, venue, symbols, settings = options
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                for text in venue.subscribe_messages(symbols):
                    await socket.send_str(text)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise FeedError("closed", f"while subscribing: {error}"[:200]) from error


def _declined(url: str, error: aiohttp.ClientResponseError) -> DeclinedError:
    """Return the error of an answer that does not accept the handshake."""
    header = error.headers.get("Retry-After") if error.headers else None
    pause_s = retry_after_s(header) or 0.0
    asks = f", asks for a pause of {pause_s:.0f} s" if pause_s else ""
    return DeclinedError("connect", f"{url}: {error}"[:200] + asks, pause_s)


async def _close(socket: aiohttp.ClientWebSocketResponse) -> None:
    # aiohttp's own timeout starts anew with every message, so a venue that keeps sending and does
    # not answer the close frame would block us for ever.
    await ends_within(socket.close(), CLOSE_TIMEOUT_S)
