"""The store of the newest snapshots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.variations import SNAPSHOT
from volsvc.domain import FeatureRow, Quality, Snapshot, UnknownSymbolError
from volsvc.pipeline.latest_store import LatestStore


def test_newest_snapshot_of_a_symbol() -> None:
    """A symbol's entry has its age; the error for an unknown symbol names similar ones."""
    row = FeatureRow("BTC-USD", 1, 1.0, 0.0, 0.0, 0, 0.0)
    quality = Quality(0, 0, 0, 0.0, "warming")
    latest_store = LatestStore()
    latest_store.put(Snapshot(row, 0.5, "baseline", "1", (), quality, {}), 100.0)
    assert latest_store.get("BTC-USD").age_s(103.0) == 3.0
    with pytest.raises(UnknownSymbolError, match="BTC-USD"):
        latest_store.get("BTC-US")


def of(symbol: str) -> Snapshot:
    """Return a snapshot of a symbol."""
    return replace(SNAPSHOT, row=SNAPSHOT.row._replace(symbol=symbol))


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


def test_the_age_is_never_below_zero() -> None:
    """A clock of another instance that is ahead of ours makes an entry new, not newer."""
    latest_store = LatestStore()
    latest_store.put(of("A"), 10.0)
    entry = latest_store.get("A")
    assert [entry.age_s(now_s) for now_s in (9.0, 10.0, 10.5, 12.0)] == [0.0, 0.0, 0.5, 2.0]
