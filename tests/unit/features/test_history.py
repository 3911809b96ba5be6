"""The history of feature rows, and the rings of other histories."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.one_symbol import OneSymbol
from tests.unit.features.ticks import tick
from volsvc.domain import FeatureRow
from volsvc.features import SLICE_TICKS
from volsvc.features.rings import Ring

counts = st.integers(0, 120) | st.integers(SLICE_TICKS, 2 * SLICE_TICKS + 50)


@given(st.integers(1, 40) | st.integers(600, 700), counts, st.integers(1, 60) | st.just(1_000))
def test_history_keeps_the_newest(capacity: int, count: int, limit: int) -> None:
    """It returns the newest rows, oldest first, and at least as many as `features.history`.

    They are those that there were, to the last bit.
    """
    one = OneSymbol(window_size=5, history=capacity)
    rows: list[FeatureRow] = []
    for index in range(count):
        rows += one.rows_after(tick(index, 100.0 + index % 7 / 100))
    kept = one.state.history(limit)
    assert min(count, limit, capacity) <= len(kept) <= min(count, limit)
    assert [repr(row) for row in kept] == [repr(row) for row in rows[-len(kept) :] if kept]


def test_an_empty_history() -> None:
    """An empty history has no rows, and neither has that of a restored state."""
    one = OneSymbol(window_size=5)
    assert one.state.history(3) == []
    for index in range(9):
        one.apply(tick(index, 100.0 + index))
    restored = one.restored()
    assert restored.state.history(3) == []
    rows = [*restored.rows_after(tick(9, 101.0)), *restored.rows_after(tick(10, 102.0))]
    assert restored.state.history(3) == rows


def arrays_bytes() -> int:
    """Return the memory of all arrays that were made since the trace began."""
    arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    traces = tracemalloc.take_snapshot().filter_traces([arrays]).traces
    return sum(trace.size for trace in traces)


def test_a_ring_with_few_rows_takes_little_memory() -> None:
    """There is room for 16 rows at first, and for twice as many each time that it is used up."""
    rooms = {0: 16, 1: 16, 16: 16, 17: 32, 32: 32, 33: 64, 64: 64, 65: 100, 100: 100, 250: 100}
    dtype = np.dtype([("time_ns", "i8"), ("price", "f8")])
    found = {}
    tracemalloc.start()
    try:
        ring = Ring(100, dtype)
        for count in range(251):
            if count in rooms:
                found[count] = arrays_bytes() / dtype.itemsize
            ring.put((count, 1.0))
    finally:
        tracemalloc.stop()
    assert found == rooms
    assert [time_ns for time_ns, _ in ring.rows(3)] == [248, 249, 250]
    assert len(ring) == 100
