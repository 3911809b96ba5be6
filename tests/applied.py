"""Ticks applied to a symbol's state, as every caller of the engine does it."""

from __future__ import annotations

from volsvc.domain import FeatureRow, Tick
from volsvc.features import SymbolState, TickStatus


def apply(state: SymbolState, tick: Tick, published_ns: int = 0) -> TickStatus:
    """Add a tick, apply every tick whose turn has come, and return the status of the new one."""
    status = state.add(tick, published_ns)
    while state.advance() is not None:
        pass
    return status


def rows_after(state: SymbolState, tick: Tick) -> list[FeatureRow]:
    """Add a tick, and return the row after each tick that it applies."""
    state.add(tick)
    rows = []
    while state.advance() is not None:
        assert state.row is not None, "an applied tick gives a row"
        rows.append(state.row)
    return rows
