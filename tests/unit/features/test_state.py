"""SymbolState: updates, dump and restore."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.ticks import START_NS, tick
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, Tick
from volsvc.features import StateError, SymbolState, TickStatus

SMALL = FeatureSettings(window_size=5)

moves = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1e-9, 0.2, 1.0, 5.0, 7.5, 61.0, -0.5]),
        st.sampled_from([100.0, 100.01, 100.02, 99.0, 1e6]),
        st.none() | st.integers(1, 40),
    ),
    max_size=60,
)


def ticks_of(steps: Sequence[tuple[float, float, int | None]]) -> list[Tick]:
    at, ticks = 0.0, []
    for step, price, trade_id in steps:
        at = max(0.0, at + step)
        ticks.append(tick(at, price, trade_id=trade_id))
    return ticks


@given(moves, st.integers(0, 60))
def test_a_restored_state_continues_exactly(
    steps: list[tuple[float, float, int | None]], cut: int
) -> None:
    """A state restored from JSON gives the same rows and counts as the original."""
    ticks = ticks_of(steps)
    whole, first = SymbolState("BTC-USD", SMALL), SymbolState("BTC-USD", SMALL)
    for item in ticks[:cut]:
        whole.update(item)
        first.update(item)
        assert whole.take_due() == first.take_due()
    second = SymbolState("BTC-USD", SMALL)
    second.restore(json.loads(json.dumps(first.dump())))
    # NaN differs from itself, so rows are compared as they are written.
    assert repr(second.row) == repr(whole.row)
    for item in ticks[cut:]:
        assert second.update(item) is whole.update(item)
        assert second.take_due() == whole.take_due()
        assert repr(second.row) == repr(whole.row)
    assert second.quality() == whole.quality()
    assert json.dumps(second.dump()) == json.dumps(whole.dump())


@given(moves)
def test_repeated_and_late_ticks_change_nothing(
    steps: list[tuple[float, float, int | None]],
) -> None:
    """A stream with every tick delivered twice gives the rows of the original stream."""
    clean, doubled = SymbolState("BTC-USD", SMALL), SymbolState("BTC-USD", SMALL)
    for item in ticks_of(steps):
        status = clean.update(item)
        assert doubled.update(item) is status
        again = doubled.update(item)
        # A late tick without an id is late again, since it was not remembered.
        assert again is (TickStatus.LATE if status is TickStatus.LATE else TickStatus.DUPLICATE)
        assert repr(doubled.row) == repr(clean.row)


def test_a_state_that_does_not_fit_is_refused() -> None:
    """A state of another version or window size raises StateError."""
    state = SymbolState("BTC-USD", SMALL)
    state.update(tick(0))
    for change in ({"v": 99}, {"window_size": 6}):
        with pytest.raises(StateError):
            SymbolState("BTC-USD", SMALL).restore({**state.dump(), **change})


def test_later_ticks_do_not_change_a_dump() -> None:
    """A dump stays the state after its tick while the rest of the batch is added."""
    state = SymbolState("BTC-USD", FeatureSettings(window_size=5))
    state.update(tick(0))
    dumped = state.dump()
    before = json.dumps(dumped)
    for at in range(1, 200):
        state.update(tick(at, 100.0 + at))
    assert json.dumps(dumped) == before


def test_ticks_far_ahead_of_their_publication_are_refused() -> None:
    """Such ticks are counted and change nothing; those of a fast replay are accepted."""
    state = SymbolState("BTC-USD", SMALL)
    assert state.update(tick(0), START_NS) is TickStatus.NEW
    before = state.row
    assert state.update(tick(61), START_NS) is TickStatus.FUTURE
    assert state.update(tick(61), START_NS) is TickStatus.FUTURE
    assert state.row == before
    assert state.quality().future == 2
    # Ten times real time: each tick is near the one before it, and far ahead of its stamp.
    for at in range(1, 200):
        assert state.update(tick(at), START_NS + at * NS // 10) is TickStatus.NEW
    assert state.quality().ticks == 200
