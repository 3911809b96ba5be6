"""The store of the newest snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.variations import FORECAST, SNAPSHOT
from volsvc.domain import FeatureRow, Quality, Snapshot, UnknownSymbolError
from volsvc.pipeline.latest_store import LatestEntry, LatestStore


def test_newest_snapshot_of_a_symbol() -> None:
    """A symbol's entry has its age; the error for an unknown symbol names similar ones."""
    row = FeatureRow("BTC-USD", 1, 1.0, 0.0, 0.0, 0, 0.0)
    quality = Quality(0, 0, 0, 0.0, "warming")
    latest_store = LatestStore()
    latest_store.put(Snapshot(row, 0.5, "baseline", "1", (), quality, {}), 100.0)
    assert latest_store.get("BTC-USD").age_s(103.0) == 3.0
    # It is noted as well.
    latest_store.note("BTC-USD", 103.0, 7)
    with pytest.raises(UnknownSymbolError, match=r"did you mean BTC-USD\?"):
        latest_store.get("BTC-US")


def of(symbol: str, price: float = 100.0) -> Snapshot:
    """Return a snapshot of a symbol."""
    return replace(SNAPSHOT, row=SNAPSHOT.row._replace(symbol=symbol, price=price))


def test_each_entry_is_told_and_kept() -> None:
    """A new entry is an event of its symbol; an entry of an earlier tick is neither."""
    events: list[tuple[str, str, Any]] = []
    latest_store = LatestStore(lambda kind, symbol, entry: events.append((kind, symbol, entry)))
    latest_store.put(of("B"), 1.0, 5)
    latest_store.put(of("A"), 2.0)
    latest_store.put(of("B"), 3.0, 4)
    assert [(kind, symbol) for kind, symbol, _ in events] == [("forecast", "B"), ("forecast", "A")]
    assert [entry for _, _, entry in events] == [latest_store.get("B"), latest_store.get("A")]
    entry = latest_store.get("B")
    assert (entry.snapshot, entry.processed_s, entry.offset) == (of("B"), 1.0, 5)
    assert entry.encoded is None
    assert (latest_store.offset("B"), latest_store.offset("A")) == (5, -1)
    assert latest_store.get("A").offset == -1
    assert latest_store.offset("none") == -1


def test_the_first_reader_has_the_snapshot_made() -> None:
    """A forecast waits as numbers; every reader gets the same snapshot of it."""
    latest_store = LatestStore()
    latest_store.put(FORECAST, 1.0)
    entry = latest_store.get(FORECAST.row.symbol)
    assert entry.forecast is FORECAST
    assert entry.snapshot == FORECAST.snapshot()
    assert entry.snapshot is entry.snapshot


def test_nobody_need_be_told() -> None:
    """Without a listener the entries are kept all the same."""
    latest_store = LatestStore()
    latest_store.put(of("A"), 1.0)
    latest_store.notify("gap", "A", None)
    assert len(latest_store) == 1


def test_entries_come_in_the_order_of_their_symbols() -> None:
    """All entries are found, alone and together, until they are dropped."""
    latest_store = LatestStore()
    for symbol in ("C", "A", "B"):
        latest_store.put(of(symbol), 1.0)
    for dropped, left in (("none", "ABC"), ("B", "AC"), ("B", "AC"), ("A", "C"), ("C", "")):
        latest_store.drop(dropped)
        assert [entry.snapshot.row.symbol for entry in latest_store] == list(left)
        assert len(latest_store) == len(left)
        assert [symbol for symbol in "ABC" if latest_store.find(symbol)] == list(left)


def test_noted_symbols_are_named_in_errors() -> None:
    """A symbol of which no snapshot was made yet is among the similar names."""
    latest_store = LatestStore()
    latest_store.note("BTC-USD", 1.0, 5)
    with pytest.raises(UnknownSymbolError, match="BTC-USD"):
        latest_store.get("BTC-US")
    assert len(latest_store) == 1


class Own:
    """Our own newest ticks, and stores that get their snapshots at once or when they are read."""

    def __init__(self) -> None:
        self.ticks: dict[str, tuple[Snapshot, int]] = {}
        self.eager, self.lazy = LatestStore(), LatestStore()
        self.lazy.refresh = self.refresh

    def refresh(self, symbols: Iterable[str]) -> None:
        """Put the snapshots of the newest ticks into the store that asks, at no certain time."""
        for symbol in symbols:
            if symbol in self.ticks:
                snapshot, offset = self.ticks[symbol]
                self.lazy.put(snapshot, 1e9, offset)

    def tick(self, symbol: str, count: int, offset: int) -> None:
        """Process a tick of our own; in the table each comes after the one before."""
        if symbol in self.ticks and offset < self.ticks[symbol][1]:
            return
        snapshot = of(symbol, count)
        self.ticks[symbol] = snapshot, offset
        self.eager.put(snapshot, float(count), offset)
        self.lazy.note(symbol, float(count), offset)

    def check(self, *read: str) -> None:
        """Compare the entries of the symbols that are read, and what needs no snapshot."""
        for symbol in read:
            assert seen(self.lazy.find(symbol)) == seen(self.eager.find(symbol))
        assert len(self.lazy) == len(self.eager)
        assert self.lazy.processed() == self.eager.processed()
        assert [self.lazy.offset(s) for s in "ABC"] == [self.eager.offset(s) for s in "ABC"]


def seen(entry: LatestEntry | None) -> Any:
    """Return what a reader sees of an entry."""
    return entry and (entry.snapshot, entry.processed_s, entry.offset)


STEPS = st.sampled_from(["tick", "tick", "other", "read", "leave", "drop"])


@given(st.lists(st.tuples(STEPS, st.sampled_from("ABC"), st.integers(-6, 6)), max_size=30))
def test_a_snapshot_that_is_made_later_is_that_of_the_newest_tick(
    steps: list[tuple[str, str, int]],
) -> None:
    """Whoever reads, and whenever, sees what a store has that gets each snapshot at once.

    Ticks of ours, whose states may leave and return as older ones, and records of others come in
    any order of offsets.
    """
    own = Own()
    for count, (step, symbol, more) in enumerate(steps, 10):
        # Ours are odd, since of equal offsets either may count.
        offset = 2 * (count + more)
        if step == "tick":
            own.tick(symbol, count, offset + 1)
        elif step == "other":
            for store in (own.eager, own.lazy):
                store.put(of(symbol, count), float(count), offset)
        elif step == "read":
            own.check(symbol)
        elif step == "leave":
            own.lazy.settle()
            own.ticks.clear()
        else:
            own.ticks.pop(symbol, None)
            for store in (own.eager, own.lazy):
                store.drop(symbol)
        own.check()
    assert [seen(entry) for entry in own.lazy] == [seen(entry) for entry in own.eager]


def test_a_store_that_is_watched_is_told_of_each_snapshot() -> None:
    """A store is watched as it was told, and without that always."""
    assert LatestStore().watched()
    assert not LatestStore(watched=lambda: False).watched()


def test_the_age_is_never_below_zero() -> None:
    """A clock of another instance that is ahead of ours makes an entry new, not newer."""
    latest_store = LatestStore()
    latest_store.put(of("A"), 10.0)
    entry = latest_store.get("A")
    assert [entry.age_s(now_s) for now_s in (9.0, 10.0, 10.5, 12.0)] == [0.0, 0.0, 0.5, 2.0]
