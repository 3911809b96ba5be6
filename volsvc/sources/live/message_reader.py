"""The messages of one open connection: read, watched, and handed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import aiohttp

from volsvc.config.live import LiveSourceSettings
from volsvc.domain import NS, FeedError, InvalidTickError
from volsvc.sources.base import FeedEvents
from volsvc.sources.live.reconnect import DeclinedError, ReconnectPolicy
from volsvc.sources.live.sequence import MessageStatus, SequenceTracker
from volsvc.sources.live.venue import (
    Content,
    ErrorMessage,
    Heartbeat,
    MarketData,
    Subscription,
    SubscriptionAck,
    Venue,
    parsed,
)
from volsvc.sources.live.watchdog import DATA, HEARTBEAT, UNCONFIRMED, Watchdog

# The longest message that is read; aiohttp ends the connection on a longer one. A first snapshot of
# many symbols has megabytes. Each connection assembles one message at a time, and one is parsed at
# a time.
MAX_MESSAGE_MIB = 16
MIB = 1024 * 1024
# So many unreadable messages in a row are another protocol, not an accident.
MAX_MALFORMED_IN_A_ROW = 20
# So many messages in a row whose every tick is refused are no accident, either.
MAX_REFUSED_IN_A_ROW = 20

# WebSocket close codes with which a venue declines (RFC 6455 and IANA's registry).
DECLINING_CODES = (aiohttp.WSCloseCode.POLICY_VIOLATION, aiohttp.WSCloseCode.TRY_AGAIN_LATER)

# Receives data and the wall-clock time of receipt in ns. It may wait, which makes the venue wait.
DataHandler = Callable[[MarketData, int], Awaitable[None]]

_TIMEOUT_TEXTS = {
    UNCONFIRMED: "the venue did not confirm the subscriptions in time",
    HEARTBEAT: "no message, not even a heartbeat, arrived in time",
    DATA: "the venue answers, but sends no data",
}


class ConnectionOptions(NamedTuple):
    """The number of a connection within its source, its venue, its symbols, and its timeouts."""

    number: int
    venue: Venue
    symbols: Sequence[str]
    settings: LiveSourceSettings

    @property
    def url(self) -> str:
        """The address of the venue's WebSocket."""
        return self.settings.ws_url or self.venue.ws_url

    @property
    def subscriptions(self) -> frozenset[Subscription]:
        """The subscriptions that the venue has to confirm."""
        return frozenset(Subscription(self.venue.channel, symbol) for symbol in self.symbols)


class MessageReader:
    """Reads the messages of one open connection."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        options: ConnectionOptions,
        events: FeedEvents,
        handler: DataHandler,
        policy: ReconnectPolicy,
    ) -> None:
        self._socket = socket
        self._options = options
        self._events = events
        self._handler = handler
        self._policy = policy
        self._clock = asyncio.get_running_loop().time
        self._watchdog = Watchdog(options.settings, self._clock())
        self._sequence = SequenceTracker()
        self._subscriptions = set(options.subscriptions)
        self._unconfirmed = set(options.subscriptions)
        self._asked = frozenset(options.symbols)
        self._delivering = False
        self._malformed_in_a_row = 0
        self._refused_in_a_row = 0
        self._refusal = ""

    async def run(self) -> None:
        """Read until the connection ends, which always raises FeedError."""
        try:
            while True:
                raw = await self._receive()
                received_ns = time.time_ns()
                self._watchdog.message_received(self._clock())
                content = self._parse(raw, received_ns)
                if content is not None:
                    await self._handle(content, received_ns)
                self._report_lost(closing=False)
        finally:
            self._report_lost(closing=True)

    async def _receive(self) -> str | bytes:
        deadline_s, reason = self._watchdog.next_deadline()
        try:
            async with asyncio.timeout_at(deadline_s):
                message = await self._socket.receive()
        except TimeoutError as error:
            text = _TIMEOUT_TEXTS[reason]
            if reason == DATA and self._refused_in_a_row:
                text += f" that can be taken ({self._refusal})"
            raise FeedError(reason, text) from error
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            data: str | bytes = message.data
            return data
        if isinstance(message.data, aiohttp.WebSocketError):
            raise _unreadable(message.data)
        code = self._socket.close_code
        kind = DeclinedError if code in DECLINING_CODES else FeedError
        raise kind("closed", f"the venue closed the connection (code {code})")

    def _parse(self, raw: str | bytes, received_ns: int) -> Content | None:
        """Parse a message; None if it is malformed or a duplicate.

        Raises FeedError after many malformed messages in a row.
        """
        try:
            message = parsed(self._options.venue.parse, raw, received_ns)
        except InvalidTickError as error:
            self._reject(error)
            return None
        self._malformed_in_a_row = 0
        if message.sequence is not None:
            status = self._sequence.check(message.sequence, message.sent)
            if status is not MessageStatus.NEW:
                self._events.message(status.value)
            if status is MessageStatus.DUPLICATE:
                return None
        return message.content

    def _reject(self, error: InvalidTickError) -> None:
        self._malformed_in_a_row += 1
        self._events.message("malformed")
        self._events.rejected_tick(error)
        self._note_refused(str(error))
        if self._malformed_in_a_row >= MAX_MALFORMED_IN_A_ROW:
            raise DeclinedError("protocol", f"{error}: is this {self._options.url}?") from error

    async def _handle(self, content: Content, received_ns: int) -> None:
        if isinstance(content, MarketData):
            await self._handle_data(content, received_ns)
        elif isinstance(content, Heartbeat):
            self._events.message("heartbeat")
        elif isinstance(content, SubscriptionAck):
            self._confirm(content.subscriptions)
        elif isinstance(content, ErrorMessage):
            self._handle_error(content)

    def _handle_error(self, error: ErrorMessage) -> None:
        self._events.message("error")
        subscription = Subscription(self._options.venue.channel, error.symbol)
        if subscription in self._subscriptions:
            self._policy.refused.refused(error.symbol)
            self._events.unavailable(error.symbol, error.text)
            self._subscriptions.discard(subscription)
            self._unconfirmed.discard(subscription)
            self._stop_waiting()
            # Without the refused symbol the connection goes on, as long as another one is left.
            if self._subscriptions:
                return
        # An error after the confirmation concerns no subscription of ours.
        elif error.symbol in self._asked or not self._unconfirmed:
            return
        raise DeclinedError("refused", f"the venue refuses to subscribe: {error.text}")

    def _confirm(self, subscriptions: frozenset[Subscription]) -> None:
        for subscription in subscriptions & self._unconfirmed:
            self._policy.refused.confirmed(subscription.symbol)
            self._events.available(subscription.symbol)
        self._unconfirmed -= subscriptions
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if not self._unconfirmed:
            self._watchdog.subscriptions_confirmed()

    async def _handle_data(self, data: MarketData, received_ns: int) -> None:
        self._events.message("data")
        for error in data.errors:
            self._events.rejected_tick(error)
        data = self._asked_for(data)
        if not data.ticks:
            if data.errors:
                self._note_refused(str(data.errors[-1]))
            return
        self._refused_in_a_row = 0
        # A snapshot is from before the subscription, so its age is no delay of the feed.
        if not data.snapshot:
            for tick in data.ticks:
                self._events.delay((received_ns - tick.time_ns) / NS)
        await self._handler(data, received_ns)
        # After the handler, because its wait for the bus is no silence of the venue.
        self._watchdog.data_received(self._clock())
        self._watchdog.message_received(self._clock())
        self._policy.data_received()
        if not self._delivering:
            self._delivering = True
            served = [s.symbol for s in self._subscriptions]
            self._events.delivering(self._options.number, served)

    def _asked_for(self, data: MarketData) -> MarketData:
        """Return data without the ticks of other symbols, which are no sign of a working feed."""
        others = {tick.symbol for tick in data.ticks} - self._asked
        if not others:
            return data
        for _ in others:
            self._events.message("unasked")
        asked = tuple(tick for tick in data.ticks if tick.symbol in self._asked)
        if not asked:
            self._note_refused(f"{min(others)} was not asked for")
        return data._replace(ticks=asked)

    def _note_refused(self, text: str) -> None:
        """Note a message of which nothing was taken; reports it if that is the rule."""
        self._refused_in_a_row += 1
        self._refusal = text
        # One bad message after many good ones is no news about the connection.
        if not self._delivering or self._refused_in_a_row >= MAX_REFUSED_IN_A_ROW:
            self._delivering = False
            of = f"nothing taken of the last {self._refused_in_a_row} messages"
            self._events.not_taken(self._options.number, self._options.symbols, f"{of}: {text}")

    def _report_lost(self, *, closing: bool) -> None:
        lost = self._sequence.collect_lost(closing=closing)
        if lost:
            self._events.gap("", "messages", lost)


def _unreadable(error: aiohttp.WebSocketError) -> DeclinedError:
    """Return the error of a message that aiohttp refuses to read."""
    if error.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
        limit = f"our limit of {MAX_MESSAGE_MIB} MiB"
        return DeclinedError("too_large", f"a message is larger than {limit}")
    return DeclinedError("protocol", f"not a valid WebSocket message: {error}"[:200])
