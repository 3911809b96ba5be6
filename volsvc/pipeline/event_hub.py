"""What streams of events are fed from: one hub, a bounded past, and a bounded queue a listener.

The hub knows no HTTP and no clock. Whoever has news publishes it here; a listener that is slower
than the news gets the newest forecast of each symbol and is told how many it missed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

EventKind = Literal["forecast", "gap", "model", "drift"]

# Events that wait for one listener; a forecast replaces the one before it of the same symbol.
MAX_PENDING = 10_000


@dataclass(slots=True)
class Event:
    """One piece of news; `symbol` is None when it concerns the service.

    `frame` keeps the event as it goes over the wire, made once for all listeners by the first that
    needs it.
    """

    seq: int
    kind: EventKind
    symbol: str | None
    payload: Any
    frame: bytes | None = None


@dataclass(slots=True)
class Missed:
    """Events that a listener did not get: replaced by newer ones, or too many altogether."""

    conflated: int = 0
    overflown: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.conflated + self.overflown


@dataclass(eq=False, slots=True)
class Listener:
    """One reader of the hub's events, of `symbols` or of all (None)."""

    symbols: frozenset[str] | None
    missed: Missed = field(default_factory=Missed)
    closed: bool = False
    _pending: dict[tuple[str, Any], Event] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, event: Event) -> bool:
        """Whether the event is for this listener; news of the service is for all."""
        return self.symbols is None or event.symbol is None or event.symbol in self.symbols

    def offer(self, event: Event) -> None:
        """Keep the event until it is taken; a forecast takes the place of an older one."""
        if not self.wants(event):
            return
        pending = self._pending
        key = (event.kind, event.symbol if event.kind == "forecast" else event.seq)
        # Taken out and put in again, so that ids stay in their order.
        if pending.pop(key, None) is not None:
            self.missed.conflated += 1
        elif len(pending) >= MAX_PENDING:
            del pending[next(iter(pending))]
            self.missed.overflown += 1
        pending[key] = event
        self._news.set()

    async def take(self, within_s: float) -> list[Event]:
        """All that waits, oldest first; empty when nothing came in time or the hub closed."""
        if not self._pending and not self.closed:
            try:
                async with asyncio.timeout(within_s):
                    await self._news.wait()
            except TimeoutError:
                return []
        events = list(self._pending.values())
        self._pending.clear()
        self._news.clear()
        return events

    def take_missed(self) -> Missed:
        """What was missed since the last time."""
        missed, self.missed = self.missed, Missed()
        return missed

    def close(self) -> None:
        """No more news will come."""
        self.closed = True
        self._news.set()


class EventHub:
    """Where parts publish and streams listen."""

    def __init__(self, ring: int, boot: str | None = None) -> None:
        """`ring` events are kept for readers that come back; `boot` names this run of the hub."""
        self.boot = boot or secrets.token_hex(4)
        self._seq = 0
        self._ring: deque[Event] = deque(maxlen=ring)
        self._listeners: set[Listener] = set()
        self._closed = False

    def publish(self, kind: EventKind, symbol: str | None, payload: Any) -> None:
        """Give an event to every listener that wants it, and keep it for those that come back."""
        self._seq += 1
        event = Event(self._seq, kind, symbol, payload)
        self._ring.append(event)
        for listener in self._listeners:
            listener.offer(event)

    @property
    def last_id(self) -> str:
        """The id of the newest event."""
        return self.id_of(self._seq)

    def id_of(self, seq: int) -> str:
        """`<boot>-<seq>`: ids of another run are told apart."""
        return f"{self.boot}-{seq}"

    def listen(self, symbols: Collection[str] | None = None) -> Listener:
        """A new listener, which hears what is published from now on; `leave` it at the end."""
        listener = Listener(frozenset(symbols) if symbols is not None else None)
        if self._closed:
            listener.close()
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Forget a listener."""
        self._listeners.discard(listener)

    def __len__(self) -> int:
        return len(self._listeners)

    def since(self, last_id: str) -> Sequence[Event] | None:
        """The events after `last_id`; None when that is not known any more, or never was."""
        boot, _, text = last_id.rpartition("-")
        if boot != self.boot or not (text.isascii() and text.isdigit()) or len(text) > 18:
            return None
        last = int(text)
        oldest = self._ring[0].seq if self._ring else self._seq + 1
        if not oldest - 1 <= last <= self._seq:
            return None
        return [event for event in self._ring if event.seq > last]

    def close(self) -> None:
        """End every listener; those that come later end at once."""
        self._closed = True
        for listener in self._listeners:
            listener.close()
