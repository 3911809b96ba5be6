"""The latest store and the hub behind it, under any order of writes, reads and subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.unit.pipeline.test_features_follower import snapshot
from tests.unit.stepping import SteppingMachine
from volsvc.domain import UnknownSymbolError
from volsvc.pipeline import event_hub
from volsvc.pipeline.event_hub import Event, EventHub, EventKind, Subscriber
from volsvc.pipeline.latest_store import LatestEntry, LatestStore

# Small bounds, so that a burst reaches each of them.
MAX_PENDING: Final = 4
HISTORY: Final = 6
MAX_READERS: Final = 4
# A closed hub has little left to do, so it is not closed early.
CLOSES_AFTER: Final = 20
WAIT_S: Final = 15.0

SYMBOLS: Final = ("BTC-USD", "ETH-USD", "SOL-USD")

symbols = st.sampled_from(SYMBOLS)
chosen = st.integers(0, MAX_READERS - 1)


class Notice(NamedTuple):
    """The kind of an event that is no forecast, and its symbol if it has one."""

    kind: EventKind
    symbol: str | None


notices = st.sampled_from(
    [Notice("gap", "BTC-USD"), Notice("gap", "SOL-USD"), Notice("model", None)]
)
# A forecast of a symbol has an offset; the payload of other events is a number.
events = st.tuples(symbols | notices, st.integers(-1, 9))
batches = st.lists(events, min_size=1, max_size=2) | st.lists(events, min_size=1, max_size=12)


class Fact(NamedTuple):
    """An event as it has to be, whoever gets it."""

    seq: int
    kind: str
    symbol: str | None
    payload: Any


class Write(NamedTuple):
    """A snapshot that the store took, told by its price."""

    offset: int
    price: float
    processed_s: float


@dataclass
class Reader:
    """A subscriber, with the numbers of events at its start and at its last batch."""

    subscriber: Subscriber
    symbols: Collection[str] | None
    joined: int
    known: int
    taken: int = 0
    dropped: int = 0
    pending: asyncio.Task[list[Event]] | None = None

    def wanted(self, events: Sequence[Fact]) -> list[Fact]:
        """Return the events that are for this reader."""
        if self.symbols is None:
            return list(events)
        return [e for e in events if e.symbol is None or e.symbol in self.symbols]


def key(event: Fact) -> Any:
    """Return what an event is the newest of: forecasts of a symbol replace one another."""
    return event.symbol if event.kind == "forecast" else event.seq


def fact(event: Event) -> Fact:
    return Fact(event.seq, event.kind, event.symbol, event.payload)


def written(entry: LatestEntry) -> Write:
    return Write(entry.offset, entry.snapshot.row.price, entry.processed_s)


class StoreMachine(SteppingMachine):
    """A store and its hub, beside all that was written and every event."""

    @initialize()
    def start(self) -> None:
        self.hub = EventHub(HISTORY, "boot")
        self.store = LatestStore(self.hub.publish)
        self.events: list[Fact] = []
        self.writes: dict[str, list[Write]] = {}
        self.entries: list[tuple[LatestEntry, Write]] = []
        self.readers: list[Reader] = []
        self.count = 0
        self.closed = self.quiet = False
        self.subscribe(None)
        self.subscribe({"ETH-USD"})

    # --- writers --------------------------------------------------------------------------

    @rule(batch=batches)
    def a_batch_comes(self, batch: Sequence[tuple[str | Notice, int]]) -> None:
        """Readers get their turn only after it, as they do with a batch of ticks."""
        for what, number in batch:
            self.count += 1
            if isinstance(what, str):
                self.write(what, number)
            else:
                self.hub.publish(what.kind, what.symbol, number)
                self.expect(what.kind, what.symbol, number)
        self.loop.settle()

    def write(self, symbol: str, offset: int) -> None:
        write = Write(offset, float(self.count), self.count / 10)
        taken = self.writes.setdefault(symbol, [])
        self.store.put(snapshot(write.price, symbol), write.processed_s, offset)
        if offset >= max((earlier.offset for earlier in taken), default=-1):
            taken.append(write)
            self.entries.append((self.store.get(symbol), write))
            self.expect("forecast", symbol, self.store.get(symbol))

    def expect(self, kind: str, symbol: str | None, payload: Any) -> None:
        self.events.append(Fact(len(self.events) + 1, kind, symbol, payload))

    @rule(symbol=symbols)
    def drop(self, symbol: str) -> None:
        self.store.drop(symbol)
        self.writes.pop(symbol, None)

    @invariant()
    def the_store_has_the_newest_of_each_symbol(self) -> None:
        newest = {symbol: writes[-1] for symbol, writes in sorted(self.writes.items()) if writes}
        assert [(e.snapshot.row.symbol, written(e)) for e in self.store] == list(newest.items())
        assert len(self.store) == len(newest)
        for symbol in SYMBOLS:
            if symbol in newest:
                assert self.store.get(symbol) is self.store.find(symbol)
                assert self.store.offset(symbol) == newest[symbol].offset
            else:
                with pytest.raises(UnknownSymbolError):
                    self.store.get(symbol)
                assert self.store.offset(symbol) == -1

    @invariant()
    def what_was_read_stays(self) -> None:
        assert [written(entry) for entry, _ in self.entries] == [write for _, write in self.entries]

    # --- subscribers ----------------------------------------------------------------------

    @rule(wanted=st.none() | st.sets(symbols, min_size=1, max_size=2))
    def subscribe(self, wanted: Collection[str] | None) -> None:
        if len(self.readers) < MAX_READERS:
            now = len(self.events)
            self.readers.append(Reader(self.hub.subscribe(wanted), wanted, now, now))

    @rule(which=chosen)
    def take(self, which: int) -> None:
        for reader in self.one_of_the_readers(which):
            if reader.pending is None:
                reader.pending = self.begin(reader.subscriber.take(WAIT_S))

    def one_of_the_readers(self, which: int) -> list[Reader]:
        return [self.readers[which % len(self.readers)]] if self.readers else []

    @rule()
    def nothing_comes_for_a_while(self) -> None:
        self.quiet = True
        self.loop.advance(WAIT_S)
        assert all(reader.pending is None or reader.pending.done() for reader in self.readers)

    @rule(which=chosen)
    def a_reader_hears_how_many_it_missed(self, which: int) -> None:
        for reader in self.one_of_the_readers(which):
            missed = reader.subscriber.take_dropped()
            assert reader.subscriber.take_dropped().total == 0
            reader.dropped += missed.total
            wanted = reader.wanted(self.events[reader.joined :])
            assert len(wanted) == reader.taken + reader.dropped + len(self.waiting(reader))
            assert not missed.conflated or len({*map(key, wanted)}) < len(wanted)
            assert not missed.overflowed or len({*map(key, wanted)}) > MAX_PENDING

    @rule(which=chosen)
    def leave(self, which: int) -> None:
        for reader in self.one_of_the_readers(which):
            if reader.pending is not None:
                return
            before = self.waiting(reader)
            self.hub.unsubscribe(reader.subscriber)
            self.readers.remove(reader)
            self.a_batch_comes([(Notice("drift", None), 0)])
            assert list(map(fact, self.left_over(reader))) == before

    def left_over(self, reader: Reader) -> list[Event]:
        task = self.begin(reader.subscriber.take(WAIT_S))
        self.loop.advance(WAIT_S)
        self.quiet = True
        return task.result()

    @rule(boot=st.sampled_from(["boot", "boot", "other"]))
    def resume(self, boot: str) -> None:
        """A client gets all after its last event, or hears that some of it is gone."""
        newest = len(self.events)
        assert self.hub.last_id == f"boot-{newest}"
        for last in range(newest - HISTORY - 1, newest + 2):
            found = self.hub.since(f"{boot}-{last}")
            if boot == "boot" and max(0, newest - HISTORY) <= last <= newest:
                assert found is not None
                assert list(map(fact, found)) == self.events[last:]
            else:
                assert found is None

    @precondition(lambda self: len(self.events) > CLOSES_AFTER)
    @rule(waiting=st.booleans())
    def close(self, waiting: bool) -> None:
        """Every reader gets what is left, and nothing is waited for any more."""
        if waiting:
            # Once for what is in the queues, and once to wait.
            self.all_take()
            self.all_take()
        self.closed = True
        self.hub.close()
        self.loop.settle()
        self.subscribe(None)
        self.all_take()
        assert all(reader.pending is None for reader in self.readers)

    def all_take(self) -> None:
        self.every_reader_gets_what_it_waits_for()
        for which in range(len(self.readers)):
            self.take(which)
        self.every_reader_gets_what_it_waits_for()

    def waiting(self, reader: Reader) -> list[Fact]:
        """Return what a reader should have in its queue: the newest, and no forecast twice."""
        newest = {key(event): event for event in reader.wanted(self.events[reader.known :])}
        return sorted(newest.values(), key=lambda event: event.seq)[-MAX_PENDING:]

    @invariant()
    def every_reader_gets_what_it_waits_for(self) -> None:
        assert len(self.hub) == len(self.readers)
        for reader in self.readers:
            assert reader.subscriber.closed is self.closed
            task, waiting = reader.pending, self.waiting(reader)
            if task is None:
                continue
            if not task.done():
                assert waiting == []
                assert not self.closed
                continue
            batch = task.result()
            assert list(map(fact, batch)) == waiting
            assert batch or self.closed or self.quiet
            reader.pending, reader.known = None, len(self.events)
            reader.taken += len(batch)
        self.quiet = False


def test_any_order_of_writes_and_subscriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest of each symbol is kept, and a slow reader costs nothing but its own events."""
    monkeypatch.setattr(event_hub, "MAX_PENDING", MAX_PENDING)
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(max_examples=150, stateful_step_count=30, report_multiple_bugs=False),
    )
