"""The source of event streams: a hub with a bounded history and a bounded queue per subscriber.

The hub knows no HTTP and no clock. A subscriber that reads more slowly than events come gets the
newest forecast of each symbol, and a count of the events that were dropped.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

EventKind = Literal["forecast", "gap", "model", "drift"]
# Those that outlive the process.
KEPT_KINDS: Final = tuple(kind for kind in get_args(EventKind) if kind != "forecast")

# Events that wait for one subscriber; a forecast replaces the older one of the same symbol.
MAX_PENDING = 10_000
# Longest number accepted in a client's id: `int` raises ValueError for thousands of digits.
MAX_DIGITS = 18


@dataclass(slots=True)
class Event:
    """One event; `symbol` is None when it concerns the service.

    `frame` caches the event as it is sent; the first subscriber that needs it fills it in for all.
    """

    seq: int
    kind: EventKind
    symbol: str | None
    payload: Any
    frame: bytes | None = None


@dataclass(slots=True)
class DroppedEvents:
    """Counts of events that a subscriber did not get.

    `conflated` were replaced by a newer forecast, `overflowed` exceeded the queue.
    """

    conflated: int = 0
    overflowed: int = 0

    @property
    def total(self) -> int:
        """The number of all dropped events."""
        return self.conflated + self.overflowed


@dataclass(eq=False, slots=True)
class Subscriber:
    """One reader of the hub's events, of `symbols` or of all (None)."""

    symbols: frozenset[str] | None
    dropped: DroppedEvents = field(default_factory=DroppedEvents)
    closed: bool = False
    _pending: dict[tuple[str, Any], Event] = field(default_factory=dict)
    _readable: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, event: Event) -> bool:
        """Return True if the event is for this subscriber; events of the service are for all."""
        return self.symbols is None or event.symbol is None or event.symbol in self.symbols

    def offer(self, event: Event) -> None:
        """Queue the event if it is wanted; a forecast replaces an older one of its symbol."""
        if not self.wants(event):
            return
        pending = self._pending
        key = (event.kind, event.symbol if event.kind == "forecast" else event.seq)
        # Removed and inserted again, not overwritten: a dict keeps the order of insertion, and ids
        # have to rise for `Last-Event-ID` to mean that everything before it was delivered.
        if pending.pop(key, None) is not None:
            self.dropped.conflated += 1
        elif len(pending) >= MAX_PENDING:
            del pending[next(iter(pending))]
            self.dropped.overflowed += 1
        pending[key] = event
        self._readable.set()

    async def take(self, within_s: float) -> list[Event]:
        """Return all pending events, oldest first; empty after a timeout or a close."""
        if not self._pending and not self.closed:
            try:
                async with asyncio.timeout(within_s):
                    await self._readable.wait()
            except TimeoutError:
                return []
        events = list(self._pending.values())
        self._pending.clear()
        self._readable.clear()
        return events

    def take_dropped(self) -> DroppedEvents:
        """Return the counts of events dropped since the last call, and start at 0 again."""
        dropped, self.dropped = self.dropped, DroppedEvents()
        return dropped

    def close(self) -> None:
        """End the subscription: no more events will come."""
        self.closed = True
        self._readable.set()


class EventHub:
    """Distributes events of the service's parts to its subscribers."""

    def __init__(self, history: int, boot: str | None = None) -> None:
        """Keep `history` events for clients that reconnect; `boot` identifies this run."""
        self.boot = boot or secrets.token_hex(4)
        self._seq = 0
        self._history: deque[Event] = deque(maxlen=history)
        self._subscribers: set[Subscriber] = set()
        self._closed = False
        # Called with every event of KEPT_KINDS.
        self.keep: Callable[[Event], None] = lambda event: None

    def publish(self, kind: EventKind, symbol: str | None, payload: Any) -> None:
        """Offer an event to every subscriber, and keep it for those that reconnect."""
        self._seq += 1
        event = Event(self._seq, kind, symbol, payload)
        self._history.append(event)
        if kind in KEPT_KINDS:
            self.keep(event)
        for subscriber in self._subscribers:
            subscriber.offer(event)

    @property
    def watched(self) -> bool:
        """True if there is a subscriber."""
        return bool(self._subscribers)

    @property
    def last_id(self) -> str:
        """The id of the newest event."""
        return self.id_of(self._seq)

    def id_of(self, seq: int) -> str:
        """Return an event's id, `<boot>-<seq>`; `boot` tells ids of another run apart."""
        return f"{self.boot}-{seq}"

    def subscribe(self, symbols: Collection[str] | None = None) -> Subscriber:
        """Return a new subscriber to what is published from now on; `unsubscribe` it at the end."""
        subscriber = Subscriber(frozenset(symbols) if symbols is not None else None)
        if self._closed:
            subscriber.close()
        self._subscribers.add(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove a subscriber."""
        self._subscribers.discard(subscriber)

    def __len__(self) -> int:
        return len(self._subscribers)

    def since(self, last_id: str) -> Sequence[Event] | None:
        """Return the events after `last_id`; None if that is too old or no id of this run."""
        boot, _, text = last_id.rpartition("-")
        # ASCII only: `isdigit` accepts superscripts, for which `int` raises ValueError.
        if boot != self.boot or not (text.isascii() and text.isdigit()) or len(text) > MAX_DIGITS:
            return None
        last = int(text)
        oldest = self._history[0].seq if self._history else self._seq + 1
        if not oldest - 1 <= last <= self._seq:
            return None
        return [event for event in self._history if event.seq > last]

    def close(self) -> None:
        """Close every subscriber; later ones are closed from the start."""
        self._closed = True
        for subscriber in self._subscribers:
            subscriber.close()
