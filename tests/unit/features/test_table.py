"""The table of symbols: its bound, and the symbols that it accepts."""

from __future__ import annotations

import json

import pytest

from tests.applied import apply
from tests.unit.features.test_forecast_history import outcome
from tests.unit.features.ticks import START_NS
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, InvalidTickError, Tick, UnknownSymbolError
from volsvc.features import StateError, SymbolState, SymbolTable

SMALL = FeatureSettings(window_size=5, history=8, max_symbols=2, symbol_ttl_s=60)


def test_the_table_is_bounded() -> None:
    """A full table refuses a new symbol until an old one has expired."""
    evicted: list[str] = []
    table = SymbolTable(SMALL, evicted.append)
    for symbol in ("A", "B"):
        apply(table.state_for(symbol, START_NS), Tick(symbol, START_NS, 1.0))
    with pytest.raises(InvalidTickError, match="max_symbols = 2") as caught:
        table.state_for("C", START_NS + 60 * NS)
    assert (caught.value.field, caught.value.reason) == ("symbol", "max_symbols")
    table.state_for("C", START_NS + 61 * NS)
    assert [state.symbol for state in table] == ["C"]
    assert evicted == ["A", "B"]
    with pytest.raises(UnknownSymbolError, match="A"):
        table.get("A")


def test_only_configured_symbols_are_accepted() -> None:
    """A symbol outside `features.symbols` raises InvalidTickError and gets no state."""
    table = SymbolTable(FeatureSettings(symbols=("A", "B")))
    table.state_for("A", START_NS)
    with pytest.raises(InvalidTickError) as caught:
        table.state_for("C", START_NS)
    assert (caught.value.field, caught.value.reason) == ("symbol", "unknown_symbol")
    assert caught.value.detail == "is not in features.symbols"
    assert len(table) == 1


def test_a_symbol_has_one_state() -> None:
    """A symbol's state is created once and found again by its name."""
    table = SymbolTable(SMALL)
    state = table.state_for("A", START_NS)
    assert table.state_for("A", START_NS) is state
    assert table.get("A") is state
    table.drop("A")
    table.drop("A")
    assert len(table) == 0


def test_counts_are_sorted_by_symbol() -> None:
    """Each symbol has a row with its own counts and verdict."""
    table = SymbolTable(SMALL)
    for symbol, seconds in (("B", (0, 0, 0, 61)), ("A", (5, 4, 3, 3, 200, 900))):
        for at in seconds:
            apply(table.state_for(symbol, START_NS), Tick(symbol, START_NS + at * NS, 1.0))
    assert table.qualities() == [
        {"symbol": "A", "gaps": 2, "duplicates": 0, "late": 3, "verdict": "warming"},
        {"symbol": "B", "gaps": 1, "duplicates": 2, "late": 0, "verdict": "warming"},
    ]


@pytest.mark.parametrize(("days", "left"), [(1, 0.0), (3, 1.0)])
def test_scores_cover_the_days_of_the_table(days: int, left: float) -> None:
    """Forecasts that matured before the window of days do not count, those inside it do."""
    scores = SymbolTable(SMALL, window_days=days).state_for("A", START_NS).scores
    for minute in (0, 2 * 1440):
        scores.issue("ml", "a", "1", [outcome(minute).issued])
        scores.mature(minute + 5, (-14.0,) * 4)
    assert scores.loss_sums("ml", 1).n == left + 1
    assert str(scores.newest_prediction_id("ml")).startswith("A/")


def stored(symbol: str, offset: int, price: float = 1.0) -> dict[str, object]:
    """Return the JSON of a state with one tick."""
    state = SymbolState(symbol, SMALL)
    apply(state, Tick(symbol, START_NS, price))
    state.offset = offset
    kept: dict[str, object] = json.loads(json.dumps(state.dump()))
    return kept


def test_the_newest_stored_state_of_a_symbol_is_kept() -> None:
    """A state with a higher offset replaces another; one that is not newer is ignored."""
    table = SymbolTable(SMALL)
    for offset, price in ((5, 1.0), (4, 2.0), (5, 3.0), (6, 4.0)):
        table.restore("A", stored("A", offset, price), START_NS)
        row = table.get("A").row
        assert row is not None
        assert row.price == (4.0 if offset == 6 else 1.0)
    assert (table.get("A").symbol, table.get("A").offset, len(table)) == ("A", 6, 1)
    # Nothing of the state before is left in it.
    assert json.loads(json.dumps(table.get("A").dump())) == stored("A", 6, 4.0)


def test_a_broken_stored_state_leaves_no_symbol() -> None:
    """A state that cannot be restored raises, and the symbol is not in the table."""
    table = SymbolTable(SMALL)
    with pytest.raises(StateError):
        table.restore("A", {**stored("A", 5), "v": 99}, START_NS)
    assert len(table) == 0


def test_a_stored_state_makes_room_for_itself() -> None:
    """A full table restores a symbol in place of those that have expired."""
    evicted: list[str] = []
    table = SymbolTable(SMALL, evicted.append)
    for symbol in ("A", "B"):
        table.restore(symbol, stored(symbol, 1), START_NS)
    with pytest.raises(InvalidTickError):
        table.restore("C", stored("C", 1), START_NS)
    table.restore("C", stored("C", 1), START_NS + 61 * NS)
    assert evicted == ["A", "B"]
    assert table.get("C").offset == 1
