"""The table of symbols: its bound, and the symbols that it accepts."""

from __future__ import annotations

import pytest

from tests.unit.features.ticks import START_NS
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, InvalidTickError, Tick, UnknownSymbolError
from volsvc.features import SymbolTable

SMALL = FeatureSettings(window_size=5, history=8, max_symbols=2, symbol_ttl_s=60)


def test_the_table_is_bounded() -> None:
    """A full table refuses a new symbol until an old one has expired."""
    evicted: list[str] = []
    table = SymbolTable(SMALL, evicted.append)
    for symbol in ("A", "B"):
        table.state_for(symbol, START_NS).update(Tick(symbol, START_NS, 1.0))
    with pytest.raises(InvalidTickError, match="max_symbols"):
        table.state_for("C", START_NS + 60 * NS)
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
    assert caught.value.reason == "unknown_symbol"
    assert len(table) == 1
