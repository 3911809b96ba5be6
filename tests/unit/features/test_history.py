"""The ring buffer of feature rows."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.applied import apply
from tests.unit.features.ticks import tick
from volsvc.config.settings import FeatureSettings
from volsvc.features import History, SymbolState
from volsvc.features.history import HISTORY_COLUMNS


@given(st.integers(1, 40), st.integers(0, 120), st.integers(1, 60))
def test_history_keeps_the_newest(capacity: int, count: int, limit: int) -> None:
    """The ring of any size returns the newest rows, oldest first."""
    state = SymbolState("BTC-USD", FeatureSettings(window_size=5, history=capacity))
    rows = []
    for index in range(count):
        apply(state, tick(index, 100.0 + index / 100))
        rows.append(state.row)
    kept = list(state.history.newest(limit, "BTC-USD"))
    assert len(state.history) == min(count, capacity)
    assert [repr(r) for r in kept] == [repr(r) for r in rows[-min(limit, capacity) :]]


def test_an_empty_history() -> None:
    """An empty history has no rows."""
    assert list(History(5).newest(3, "X")) == []


def arrays_bytes() -> int:
    """Return the memory of all arrays that were made since the trace began."""
    arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    traces = tracemalloc.take_snapshot().filter_traces([arrays]).traces
    return sum(trace.size for trace in traces)


def test_a_symbol_with_few_ticks_takes_little_memory() -> None:
    """There is room for 16 rows at first, and for twice as many each time that it is used up."""
    rooms = {0: 16, 1: 16, 16: 16, 17: 32, 32: 32, 33: 64, 64: 64, 65: 100, 100: 100, 250: 100}
    values = (0.0,) * len(HISTORY_COLUMNS)
    found = {}
    tracemalloc.start()
    try:
        history = History(100)
        for count in range(251):
            if count in rooms:
                found[count] = arrays_bytes() / (8 * len(HISTORY_COLUMNS))
            history.put(values)
    finally:
        tracemalloc.stop()
    assert found == rooms
