"""Per-symbol state: order, history, dump and restore."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, InvalidTickError, Tick, UnknownSymbolError
from volsvc.features import History, StateError, SymbolState, SymbolTable, TickStatus
from volsvc.features.tick_check import SILENCE_NS, TickValidator

START = 1_767_571_200 * NS
SMALL = FeatureSettings(window_size=5, history=8, max_symbols=2, symbol_ttl_s=60)


def tick(at: float, price: float = 100.0, **more: Any) -> Tick:
    return Tick("BTC-USD", START + round(at * NS), price, **more)


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
def test_a_restored_state_goes_on_to_the_bit(
    steps: list[tuple[float, float, int | None]], cut: int
) -> None:
    """State through JSON, then more ticks: the same rows and counts as without the break."""
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
    """With every tick delivered twice the rows are those of the clean stream."""
    clean, doubled = SymbolState("BTC-USD", SMALL), SymbolState("BTC-USD", SMALL)
    for item in ticks_of(steps):
        order = clean.update(item)
        assert doubled.update(item) is order
        again = doubled.update(item)
        # A late one without an id is late again: it was never taken in.
        assert again is (TickStatus.LATE if order is TickStatus.LATE else TickStatus.DUPLICATE)
        assert repr(doubled.row) == repr(clean.row)


def test_state_of_another_kind_is_refused() -> None:
    """Another version or window size is an error, not a wrong feature."""
    state = SymbolState("BTC-USD", SMALL)
    state.update(tick(0))
    for change in ({"v": 99}, {"window_size": 6}):
        with pytest.raises(StateError):
            SymbolState("BTC-USD", SMALL).restore({**state.dump(), **change})


class TestOrder:
    """What a tick is to its symbol."""

    def test_by_trade_id(self) -> None:
        """A trade id that was seen is a duplicate at any time and price."""
        check = TickValidator(0)
        assert check.check(tick(0, trade_id=5)) is TickStatus.NEW
        assert check.check(tick(1, 101.0, trade_id=5)) is TickStatus.DUPLICATE
        assert check.check(tick(1, 101.0, trade_id=6)) is TickStatus.NEW
        assert (check.duplicates, check.late, check.gaps) == (1, 0, 0)

    def test_without_ids(self) -> None:
        """Without ids only a tick that is equal in every field is a duplicate."""
        check = TickValidator(0)
        assert check.check(tick(0, size=1.0)) is TickStatus.NEW
        assert check.check(tick(0, size=2.0)) is TickStatus.NEW
        assert check.check(tick(0, size=1.0)) is TickStatus.DUPLICATE
        assert check.check(tick(1, size=1.0)) is TickStatus.NEW

    def test_a_sequence_may_start_anew(self) -> None:
        """After a reconnect old sequences come again with new times."""
        check = TickValidator(0)
        assert check.check(tick(0, sequence=1)) is TickStatus.NEW
        assert check.check(tick(0, sequence=1)) is TickStatus.DUPLICATE
        assert check.check(tick(5, sequence=1)) is TickStatus.NEW

    def test_late(self) -> None:
        """Older than the newest by more than the tolerance is late."""
        check = TickValidator(1.0)
        assert check.check(tick(10)) is TickStatus.NEW
        assert check.check(tick(9)) is TickStatus.NEW
        assert check.check(tick(8.999)) is TickStatus.LATE
        assert check.late == 1

    def test_gaps(self) -> None:
        """Missing trade ids of a trade feed and long silence are gaps; a ticker's skips are not."""
        check = TickValidator(0)
        check.check(tick(0, trade_id=1))
        check.check(tick(1, trade_id=4))
        assert check.gaps == 1
        check.check(tick(2, trade_id=9, best_bid=99.0, best_ask=101.0))
        assert check.gaps == 1
        check.check(tick(2 + SILENCE_NS / NS + 1, trade_id=10))
        assert check.gaps == 2


@given(st.integers(1, 40), st.integers(0, 120), st.integers(1, 60))
def test_history_keeps_the_newest(capacity: int, count: int, limit: int) -> None:
    """The ring gives the newest rows, oldest first, whatever its size."""
    state = SymbolState("BTC-USD", FeatureSettings(window_size=5, history=capacity))
    rows = []
    for index in range(count):
        state.update(tick(index, 100.0 + index))
        rows.append(state.row)
    kept = list(state.history.newest(limit, "BTC-USD"))
    assert len(state.history) == min(count, capacity)
    assert [repr(r) for r in kept] == [repr(r) for r in rows[-min(limit, capacity) :]]


def test_history_of_nothing() -> None:
    """An empty ring has no rows."""
    assert list(History(5).newest(3, "X")) == []


def test_table_is_bounded() -> None:
    """A full table refuses a new symbol until an old one has been silent for long enough."""
    evicted: list[str] = []
    table = SymbolTable(SMALL, evicted.append)
    for symbol in ("A", "B"):
        table.state_for(symbol, START).update(Tick(symbol, START, 1.0))
    with pytest.raises(InvalidTickError, match="max_symbols"):
        table.state_for("C", START + 60 * NS)
    table.state_for("C", START + 61 * NS)
    assert [state.symbol for state in table] == ["C"]
    assert evicted == ["A", "B"]
    with pytest.raises(UnknownSymbolError, match="A"):
        table.get("A")


def test_a_clock_far_ahead() -> None:
    """Ticks ahead of their publication change nothing and are counted; a fast replay is not."""
    state = SymbolState("BTC-USD", SMALL)
    assert state.update(tick(0), START) is TickStatus.NEW
    before = state.row
    assert state.update(tick(61), START) is TickStatus.FUTURE
    assert state.update(tick(61), START) is TickStatus.FUTURE
    assert state.row == before
    assert state.quality().future == 2
    # Ten times real time: each tick is near the one before it, and far ahead of its stamp.
    for at in range(1, 200):
        assert state.update(tick(at), START + at * NS // 10) is TickStatus.NEW
    assert state.quality().ticks == 200


def test_only_configured_symbols_are_taken_in() -> None:
    """With `features.symbols`, another symbol has no state and a reason why not."""
    table = SymbolTable(FeatureSettings(symbols=("A", "B")))
    table.state_for("A", START)
    with pytest.raises(InvalidTickError) as caught:
        table.state_for("C", START)
    assert caught.value.reason == "unknown_symbol"
    assert len(table) == 1
