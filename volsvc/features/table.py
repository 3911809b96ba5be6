"""The symbol table: the one home of all symbols' states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, InvalidTickError, UnknownSymbolError
from volsvc.features.state import SymbolState
from volsvc.scoring.scores import WINDOW_DAYS


class SymbolTable:
    """States by symbol, bounded in number and in age."""

    def __init__(
        self,
        settings: FeatureSettings,
        evicted: Callable[[str], None] = lambda symbol: None,
        window_days: int = WINDOW_DAYS,
    ) -> None:
        """`evicted` hears of each symbol that made room; scores are over `window_days`."""
        self._settings = settings
        self._evicted = evicted
        self._window_days = window_days
        self._ttl_ns = round(settings.symbol_ttl_s * NS)
        self._states: dict[str, SymbolState] = {}

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[SymbolState]:
        return iter(self._states.values())

    def qualities(self) -> list[dict[str, Any]]:
        """Counts of each symbol's feed, as rows of a table."""
        rows = []
        for state in sorted(self, key=lambda state: state.symbol):
            quality = state.quality()
            row = {"symbol": state.symbol, "gaps": quality.gaps, "duplicates": quality.duplicates}
            rows.append({**row, "late": quality.late, "verdict": quality.verdict})
        return rows

    def get(self, symbol: str) -> SymbolState:
        """The state of a known symbol; raises UnknownSymbolError with the nearest names."""
        state = self._states.get(symbol)
        if state is None:
            raise UnknownSymbolError(symbol, self._states)
        return state

    def state_for(self, symbol: str, time_ns: int) -> SymbolState:
        """The state of a symbol, made when it is new.

        Raises InvalidTickError when it is none of the configured symbols, and when the table is
        full of symbols that had a tick within `symbol_ttl_s` of `time_ns` (event time).
        """
        state = self._states.get(symbol)
        if state is None:
            if self._settings.symbols and symbol not in self._settings.symbols:
                raise InvalidTickError("symbol", "is none of features.symbols", "unknown_symbol")
            self._make_room(time_ns)
            state = SymbolState(symbol, self._settings, self._window_days)
            self._states[symbol] = state
        return state

    def _make_room(self, time_ns: int) -> None:
        if len(self._states) < self._settings.max_symbols:
            return
        expired = [
            symbol
            for symbol, state in self._states.items()
            if state.row is None or time_ns - state.row.time_ns > self._ttl_ns
        ]
        for symbol in expired:
            del self._states[symbol]
            self._evicted(symbol)
        if not expired:
            detail = f"the table holds max_symbols = {self._settings.max_symbols} already"
            raise InvalidTickError("symbol", detail, "max_symbols")

    def restore(self, symbol: str, state: Mapping[str, Any], time_ns: int) -> None:
        """Adopt a stored state unless a newer one is here; raises StateError or KeyError."""
        known = self._states.get(symbol)
        if known is not None and known.offset >= state["offset"]:
            return
        self._states.pop(symbol, None)
        self.state_for(symbol, time_ns).restore(state)

    def drop(self, symbol: str) -> None:
        """Forget a symbol that another instance owns now."""
        self._states.pop(symbol, None)
