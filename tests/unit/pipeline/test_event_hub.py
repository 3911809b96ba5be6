"""The hub of event streams: what each subscriber gets, and what a client that reconnects gets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.pipeline.event_hub import (
    DroppedEvents,
    Event,
    EventHub,
    EventKind,
    Subscriber,
)

SYMBOLS = ("A", "B", "C")
# The pending events of a subscriber in these tests, so that some overflow.
PENDING = 4
# Events that are kept for clients that reconnect.
HISTORY = 5

KINDS: tuple[EventKind, ...] = ("forecast", "gap", "model", "drift")
EVENTS = st.tuples(st.sampled_from(KINDS), st.none() | st.sampled_from(SYMBOLS))
# An event, or the number of the reader that takes what waits for it.
STEPS = st.lists(EVENTS | st.integers(0, 2), max_size=40)
CHOICES: tuple[tuple[str, ...] | None, ...] = (None, ("A",), ())


class Reader:
    """A subscriber, and the queue that it should have, as a plain list."""

    def __init__(self, hub: EventHub, symbols: tuple[str, ...] | None) -> None:
        self.symbols = symbols
        self.subscriber = hub.subscribe(symbols)
        self.waiting: list[int] = []
        self.events: list[tuple[EventKind, str | None]] = []
        self.dropped = [0, 0]

    def expect(self, events: Sequence[tuple[EventKind, str | None]]) -> None:
        """Queue the newest of all events, if it is for this reader."""
        kind, symbol = events[-1]
        if self.symbols is not None and symbol is not None and symbol not in self.symbols:
            return
        older = [n for n in self.waiting if kind == "forecast" and events[n - 1] == (kind, symbol)]
        if older:
            self.waiting.remove(older[0])
            self.dropped[0] += 1
        elif len(self.waiting) == PENDING:
            self.waiting.pop(0)
            self.dropped[1] += 1
        self.waiting.append(len(events))

    async def check(self) -> None:
        """Take everything, and compare it and the counts with what should be there."""
        taken = await self.subscriber.take(0.0)
        assert [event.seq for event in taken] == self.waiting
        dropped = self.subscriber.take_dropped()
        assert [dropped.conflated, dropped.overflowed] == self.dropped
        assert dropped.total == sum(self.dropped)
        self.waiting, self.dropped = [], [0, 0]


@given(STEPS)
def test_readers_get_what_they_want_in_order(
    steps: list[tuple[EventKind, str | None] | int],
) -> None:
    """A slow reader gets the newest forecasts and its other events, and counts of the rest."""

    async def run() -> None:
        hub = EventHub(HISTORY)
        readers = [Reader(hub, symbols) for symbols in CHOICES]
        events: list[tuple[EventKind, str | None]] = []
        for step in [*steps, 0, 1, 2]:
            if isinstance(step, int):
                await readers[step].check()
                continue
            events.append(step)
            hub.publish(*step, payload=len(events))
            for reader in readers:
                reader.expect(events)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("volsvc.pipeline.event_hub.MAX_PENDING", PENDING)
        asyncio.run(run())


@pytest.mark.parametrize("history", [1, 2, HISTORY])
@pytest.mark.parametrize("published", range(HISTORY + 3))
def test_a_client_that_reconnects_gets_what_it_missed(history: int, published: int) -> None:
    """Of the history it gets everything after its id; None where something has been forgotten."""
    hub = EventHub(history, "run-1")
    for number in range(published):
        hub.publish("gap", "A", number)
    known = range(max(0, published - history), published + 1)
    for last in range(-1, published + 3):
        found = hub.since(f"run-1-{last}")
        assert (found is not None) is (last in known)
        if found is not None:
            assert [event.seq for event in found] == list(range(last + 1, published + 1))
            assert [event.payload for event in found] == list(range(last, published))
    assert hub.since(f"run-1-00{published}") == []


@pytest.mark.parametrize(
    "last_id",
    ["", "1", "run-1", "run-1-", "run-2-1", "-1", "run-1-x", "run-1-²", "run-1-\u0661", "run-1-+1"],
)
def test_ids_that_are_not_of_this_run(last_id: str) -> None:
    """An id of another run, or none at all, has no events after it."""
    hub = EventHub(HISTORY, "run-1")
    hub.publish("gap", "A", None)
    assert hub.since("run-1-0") is not None
    assert hub.since(last_id) is None


@pytest.mark.parametrize(("digits", "known"), [(18, True), (19, False), (5_000, False)])
def test_ids_have_few_digits(digits: int, known: bool) -> None:
    """A number of thousands of digits, which `int` refuses, is no id of ours."""
    hub = EventHub(HISTORY, "run-1")
    assert (hub.since(f"run-1-{0:0{digits}}") is not None) is known


def test_ids_count_the_events_of_a_run() -> None:
    """An id is that of the run and the number of the event; each run has another name."""
    hub = EventHub(HISTORY, "run-1")
    assert hub.last_id == "run-1-0"
    hub.publish("gap", "A", None)
    assert hub.last_id == hub.id_of(1) == "run-1-1"
    runs = {EventHub(HISTORY).boot for _ in range(3)}
    assert len(runs) == 3
    assert all(len(run) == 8 and int(run, 16) >= 0 for run in runs)


def test_an_event_has_all_that_was_published() -> None:
    """The history keeps kind, symbol and payload; its frame is made by the first reader."""
    hub = EventHub(HISTORY, "run-1")
    hub.publish("drift", "A", {"psi": 0.3})
    assert hub.since("run-1-0") == [Event(1, "drift", "A", {"psi": 0.3}, None)]


async def test_readers_wait_for_the_next_event() -> None:
    """A reader without events waits until one comes, and then waits for the next one."""
    hub = EventHub(HISTORY)
    subscriber = hub.subscribe()
    for number in (1, 2):
        waiting = asyncio.create_task(subscriber.take(5))
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.publish("gap", "A", None)
        assert [event.seq for event in await waiting] == [number]
    assert await subscriber.take(0.001) == []


async def test_a_reader_is_not_woken_by_what_it_does_not_want() -> None:
    """An event of another symbol leaves a reader waiting."""
    hub = EventHub(HISTORY)
    subscriber = hub.subscribe(["A"])
    hub.publish("gap", "B", None)
    assert await subscriber.take(0.001) == []


async def test_the_end_of_the_hub() -> None:
    """Closing wakes the readers, who get what waits; those that come later are closed."""
    hub = EventHub(HISTORY)
    idle, behind = hub.subscribe(), hub.subscribe(["A"])
    waiting = asyncio.create_task(idle.take(5))
    await asyncio.sleep(0)
    behind.offer(Event(1, "gap", "A", None))
    assert not idle.closed
    assert not behind.closed
    hub.close()
    async with asyncio.timeout(5):
        assert await waiting == []
        assert [event.seq for event in await behind.take(5)] == [1]
        assert await behind.take(5) == []
        late = hub.subscribe()
        assert await late.take(5) == []
    assert idle.closed
    assert late.closed


def test_readers_come_and_go() -> None:
    """The hub counts its readers; one that left gets nothing more, and may leave twice."""
    hub = EventHub(HISTORY)
    first, second = hub.subscribe(), hub.subscribe()
    assert len(hub) == 2
    hub.unsubscribe(first)
    hub.unsubscribe(first)
    assert len(hub) == 1
    hub.publish("gap", "A", None)
    assert asyncio.run(first.take(0.0)) == []
    assert len(asyncio.run(second.take(0.0))) == 1


def test_what_a_subscriber_starts_with() -> None:
    """A new subscriber is open, has dropped nothing, and shares nothing with another one."""
    one, other = Subscriber(None), Subscriber(None)
    assert (one.closed, one.dropped) == (False, DroppedEvents(0, 0))
    payload: Any = object()
    one.offer(Event(1, "gap", None, payload))
    assert asyncio.run(other.take(0.0)) == []
    (event,) = asyncio.run(one.take(0.0))
    assert event.payload is payload


def test_a_hub_is_watched_while_it_has_a_subscriber() -> None:
    """Without one nobody need make what would be told."""
    hub = EventHub(HISTORY)
    assert not hub.watched
    first, second = hub.subscribe(None), hub.subscribe(("A",))
    for left in (first, second):
        assert hub.watched
        hub.unsubscribe(left)
    assert not hub.watched
