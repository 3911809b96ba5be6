"""One WebSocket of a venue: subscribe, confirm, read, watch; and again after it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import aiohttp

from volsvc.backoff import Backoff
from volsvc.config.live import LiveSourceSettings
from volsvc.domain import NS, FeedError, InvalidTickError
from volsvc.sources.base import FeedEvents
from volsvc.sources.live.sequence import Arrival, SequenceCheck
from volsvc.sources.live.venue import Confirmed, Content, Data, Heartbeat, Refusal, Venue
from volsvc.sources.live.watchdog import Watchdog

RECONNECT_BASE_S = 0.1
# How long a venue may take to answer our goodbye.
CLOSE_S = 0.5
MAX_MESSAGE = 4 * 1024 * 1024
# So many unreadable messages in a row are another protocol and no accident.
MALFORMED_IN_A_ROW = 20
# Hears data and the wall-clock time of receipt in ns; may wait, which holds the venue back.
Take = Callable[[Data, int], Awaitable[None]]


class Endpoint(NamedTuple):
    """What a connection is to: where, which venue, whose ticks, and how it is watched."""

    number: int
    venue: Venue
    symbols: Sequence[str]
    settings: LiveSourceSettings

    @property
    def wanted(self) -> frozenset[tuple[str, str]]:
        """The subscriptions that have to be confirmed."""
        return frozenset((self.venue.channel, symbol) for symbol in self.symbols)


class Connection:
    """Keeps one connection to a venue, for ever."""

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: Endpoint, events: FeedEvents, take: Take
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self._events = events
        self._take = take
        self._backoff = Backoff(RECONNECT_BASE_S, endpoint.settings.reconnect_max_s)

    async def run(self) -> None:
        """Connect and read until cancelled; waits between attempts, longer while all fail."""
        number, _, symbols, _ = self._endpoint
        self._events.connecting(number, symbols)
        while True:
            try:
                await self._once()
            except FeedError as error:
                self._events.disconnected(number, symbols, error)
            await asyncio.sleep(self._backoff.delay_s())

    async def _once(self) -> None:
        """One connection from its opening to its end, which is always a FeedError."""
        _, venue, symbols, settings = self._endpoint
        url = settings.ws_url or venue.ws_url
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                socket = await self._session.ws_connect(url, max_msg_size=MAX_MESSAGE)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise FeedError("connect", f"{url}: {error or type(error).__name__}"[:200]) from error
        try:
            await self._subscribe(socket, venue.subscriptions(symbols))
            await _Reading(socket, self._endpoint, self._events, self._take, self._backoff).run()
        finally:
            await _close(socket)

    async def _subscribe(
        self, socket: aiohttp.ClientWebSocketResponse, texts: Sequence[str]
    ) -> None:
        try:
            async with asyncio.timeout(self._endpoint.settings.connect_timeout_s):
                for text in texts:
                    await socket.send_str(text)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise FeedError("closed", f"while subscribing: {error}"[:200]) from error


async def _close(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Say goodbye, but not for long.

    aiohttp's own timeout begins anew with every message, so a venue that goes on talking and does
    not answer would hold us for ever.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await socket.close()


class _Reading:
    """The state of one opened connection."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        endpoint: Endpoint,
        events: FeedEvents,
        take: Take,
        backoff: Backoff,
    ) -> None:
        self._socket = socket
        self._endpoint = endpoint
        self._events = events
        self._take = take
        self._backoff = backoff
        self._clock = asyncio.get_running_loop().time
        self._watchdog = Watchdog(endpoint.settings, self._clock())
        self._sequence = SequenceCheck()
        self._wanted = set(endpoint.wanted)
        self._pending = set(endpoint.wanted)
        self._delivers = False
        self._malformed = 0

    async def run(self) -> None:
        """Read until the connection ends."""
        try:
            while True:
                text = await self._receive()
                received_ns = time.time_ns()
                self._watchdog.alive(self._clock())
                content = self._understand(text, received_ns)
                if content is not None:
                    await self._obey(content, received_ns)
                self._report_lost(closing=False)
        finally:
            self._report_lost(closing=True)

    async def _receive(self) -> str | bytes:
        deadline_s, reason = self._watchdog.next()
        try:
            async with asyncio.timeout_at(deadline_s):
                message = await self._socket.receive()
        except TimeoutError as error:
            raise FeedError(reason, _SILENCE[reason]) from error
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            data: str | bytes = message.data
            return data
        code = self._socket.close_code
        raise FeedError("closed", f"the venue closed the connection (code {code})")

    def _understand(self, text: str | bytes, received_ns: int) -> Content | None:
        """What a message says; None for one that is malformed or has been heard before."""
        try:
            message = self._endpoint.venue.parse(text, received_ns)
        except InvalidTickError as error:
            self._malformed += 1
            self._events.message("malformed")
            self._events.rejected_tick(error)
            if self._malformed >= MALFORMED_IN_A_ROW:
                raise FeedError("protocol", f"{error}: is this {self._url}?") from error
            return None
        self._malformed = 0
        if message.sequence is not None:
            arrival = self._sequence.note(message.sequence, message.sent)
            if arrival is not Arrival.NEW:
                self._events.message(arrival.value)
            if arrival is Arrival.DUPLICATE:
                return None
        return message.content

    @property
    def _url(self) -> str:
        return self._endpoint.settings.ws_url or self._endpoint.venue.ws_url

    async def _obey(self, content: Content, received_ns: int) -> None:
        if isinstance(content, Data):
            await self._data(content, received_ns)
        elif isinstance(content, Heartbeat):
            self._events.message("heartbeat")
        elif isinstance(content, Confirmed):
            self._confirm(content.pairs)
        elif isinstance(content, Refusal):
            self._refused(content)

    def _refused(self, refusal: Refusal) -> None:
        """Go on without a symbol that the venue names, as long as there is another one."""
        self._events.message("error")
        pair = (self._endpoint.venue.channel, refusal.symbol)
        if pair in self._wanted and len(self._wanted) > 1:
            self._wanted.discard(pair)
            self._events.unavailable(refusal.symbol, refusal.text)
            self._confirm(frozenset({pair}))
        elif self._pending:
            raise FeedError("refused", f"the venue refuses to subscribe: {refusal.text}")

    def _confirm(self, pairs: frozenset[tuple[str, str]]) -> None:
        self._pending -= pairs
        if not self._pending:
            self._watchdog.confirmed()

    async def _data(self, data: Data, received_ns: int) -> None:
        self._events.message("data")
        for fault in data.faults:
            self._events.rejected_tick(fault)
        if not data.ticks:
            return
        if not data.snapshot:
            for tick in data.ticks:
                self._events.delay((received_ns - tick.time_ns) / NS)
        await self._take(data, received_ns)
        self._watchdog.data(self._clock())
        self._watchdog.alive(self._clock())
        if not self._delivers:
            # Only now: a venue that accepts and then refuses must not be stormed.
            self._delivers = True
            self._backoff.reset()
            self._events.delivering(self._endpoint.number, self._endpoint.symbols)

    def _report_lost(self, *, closing: bool) -> None:
        lost = self._sequence.take_lost(closing=closing)
        if lost:
            self._events.gap("", "messages", lost)


_SILENCE = {
    "unconfirmed": "the venue did not confirm the subscriptions in time",
    "heartbeat": "no message, not even a heartbeat, came in time",
    "data": "the venue is there, but its data have stopped",
}
