"""The ring buffer of feature rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.ticks import tick
from volsvc.config.settings import FeatureSettings
from volsvc.features import History, SymbolState


@given(st.integers(1, 40), st.integers(0, 120), st.integers(1, 60))
def test_history_keeps_the_newest(capacity: int, count: int, limit: int) -> None:
    """The ring of any size returns the newest rows, oldest first."""
    state = SymbolState("BTC-USD", FeatureSettings(window_size=5, history=capacity))
    rows = []
    for index in range(count):
        state.update(tick(index, 100.0 + index))
        rows.append(state.row)
    kept = list(state.history.newest(limit, "BTC-USD"))
    assert len(state.history) == min(count, capacity)
    assert [repr(r) for r in kept] == [repr(r) for r in rows[-min(limit, capacity) :]]


def test_an_empty_history() -> None:
    """An empty history has no rows."""
    assert list(History(5).newest(3, "X")) == []
