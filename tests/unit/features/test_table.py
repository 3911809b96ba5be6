"""The table of symbols: its bound, and the symbols that it accepts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.applied import apply
from tests.unit.features.ticks import START_NS
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, InvalidTickError, Tick, UnknownSymbolError
from volsvc.features import StateError, SymbolTable
from volsvc.scoring import scores

SMALL = FeatureSettings(window_size=5, history=8, max_symbols=2, symbol_ttl_s=60)


def test_the_table_is_bounded() -> None:
    """A full table refuses a new symbol until an old one has expired."""
    evicted: list[str] = []
    table = SymbolTable(SMALL, evicted.append)
    for symbol in ("A", "B"):
        apply(table, Tick(symbol, START_NS, 1.0))
    with pytest.raises(InvalidTickError, match="max_symbols = 2") as caught:
        table.row_for("C", START_NS + 60 * NS)
    assert (caught.value.field, caught.value.reason) == ("symbol", "max_symbols")
    table.row_for("C", START_NS + 61 * NS)
    assert [state.symbol for state in table] == ["C"]
    assert evicted == ["A", "B"]
    with pytest.raises(UnknownSymbolError, match="A"):
        table.get("A")


def test_only_configured_symbols_are_accepted() -> None:
    """A symbol outside `features.symbols` raises InvalidTickError and gets no state."""
    table = SymbolTable(FeatureSettings(symbols=("A", "B")))
    table.row_for("A", START_NS)
    with pytest.raises(InvalidTickError) as caught:
        table.row_for("C", START_NS)
    assert (caught.value.field, caught.value.reason) == ("symbol", "unknown_symbol")
    assert caught.value.detail == "is not in features.symbols"
    assert len(table) == 1


def test_a_symbol_has_one_state() -> None:
    """A symbol's row is found again by its name, and starts anew for the next symbol."""
    table = SymbolTable(SMALL)
    row = table.row_for("A", START_NS)
    assert table.row_for("A", START_NS) == row == table.known_row("A")
    empty = table.stored(row)
    apply(table, Tick("A", START_NS, 1.0))
    table.daily[row] = 7.0
    assert (table.get("A").symbol, table.symbol(row)) == ("A", "A")
    assert table.newest_ns(table.rows).tolist() == [START_NS]
    assert [state.symbol for state in table] == ["A"]
    table.drop("A")
    table.drop("A")
    assert len(table) == 0
    assert "A" not in table
    assert table.known_row("A") is None
    # Nothing of the state before is left in it.
    assert table.row_for("B", START_NS) == row
    assert table.stored(row) == empty
    assert (table.get("B").row, table.get("B").history(9)) == (None, [])
    assert table.newest_ns(table.rows).tolist() == [0]


@pytest.mark.parametrize("tolerance_s", [0.0, 5.0])
def test_a_table_of_any_number_of_symbols(tolerance_s: float) -> None:
    """Rows of symbols that come and leave do not disturb each other, as the table grows."""
    settings = FeatureSettings(window_size=3, history=4, late_tolerance_s=tolerance_s)
    table = SymbolTable(settings)
    alone = {f"S{number}": SymbolTable(settings) for number in range(40)}
    for at in range(12):
        for number, (name, own) in enumerate(alone.items()):
            if number < 3 * at + 4:
                item = Tick(name, START_NS + at * NS, 100.0 + (number + at) % 5)
                assert apply(table, item) == apply(own, item)
        if at % 4 == 3:
            table.drop(f"S{at}")
            alone.pop(f"S{at}")
    assert sorted(state.symbol for state in table) == sorted(
        name for name, own in alone.items() if len(own)
    )
    for state in table:
        other = alone[state.symbol].get(state.symbol)
        assert state.record.ticks.tobytes() == other.record.ticks.tobytes()
        assert (state.row, state.history(9)) == (other.row, other.history(9))
        assert state.quality() == other.quality()


def test_counts_are_sorted_by_symbol() -> None:
    """Each symbol has a row with its own counts and verdict."""
    table = SymbolTable(SMALL)
    for symbol, seconds in (("B", (0, 0, 0, 61)), ("A", (5, 4, 3, 3, 200, 900))):
        for at in seconds:
            apply(table, Tick(symbol, START_NS + at * NS, 1.0))
    assert table.qualities() == [
        {"symbol": "A", "gaps": 2, "duplicates": 0, "late": 3, "verdict": "warming"},
        {"symbol": "B", "gaps": 1, "duplicates": 2, "late": 0, "verdict": "warming"},
    ]


@pytest.mark.parametrize(("days", "left"), [(1, 0.0), (3, 1.0)])
def test_scores_cover_the_days_of_the_table(days: int, left: float) -> None:
    """Forecasts that matured before the window of days do not count, those inside it do."""
    table = SymbolTable(SMALL, window_days=days)
    row = table.row_for("A", START_NS)
    kept, daily = table.records[row].learnt.scores, table.daily[row]
    digest = np.frombuffer(scores.digest_bytes("a"), np.uint8)
    scores.adopt(kept, daily, 1, digest, scores.version_bytes("1"))
    matured = np.zeros(4, scores.OUTCOME)
    for minute in (0, 2 * 1440):
        scores.issue(kept, 1, minute, 1, np.array((1e-3, 1e-4, 2e-3, 1e-3, 0.2)))
        scores.mature(kept, daily, minute + 5, np.full(4, -14.0), matured)
    found = table.get("A").scores
    assert found.loss_sums("ml", 1).n == left + 1
    assert str(found.newest_prediction_id("ml")).startswith("A/")


def stored(symbol: str, offset: int, price: float = 1.0) -> bytes:
    """Return a stored state with one tick."""
    table = SymbolTable(SMALL)
    apply(table, Tick(symbol, START_NS, price))
    (row,) = table.rows.tolist()
    table.records[row].ticks.offset = offset
    return table.stored(row)


def test_the_newest_stored_state_of_a_symbol_is_kept() -> None:
    """A state with a higher offset replaces another; one that is not newer is ignored."""
    table = SymbolTable(SMALL)
    for offset, price in ((5, 1.0), (4, 2.0), (5, 3.0), (6, 4.0)):
        table.restore("A", stored("A", offset, price), START_NS)
        newest = table.get("A").row
        assert newest is not None
        assert newest.price == (4.0 if offset == 6 else 1.0)
    assert (table.get("A").symbol, table.get("A").offset, len(table)) == ("A", 6, 1)
    # Nothing of the state before is left in it.
    row = table.row("A")
    assert table.stored(row) == stored("A", 6, 4.0)


def test_a_broken_stored_state_leaves_no_symbol() -> None:
    """A state that cannot be restored raises, and the symbol is not in the table."""
    table = SymbolTable(SMALL)
    with pytest.raises(StateError):
        table.restore("A", stored("A", 5)[:-1], START_NS)
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
