"""The table of all symbols' states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, InvalidTickError, Tick, UnknownSymbolError
from volsvc.features.print_filter import BAD_PRINT
from volsvc.features.state import SymbolState
from volsvc.scoring.scores import WINDOW_DAYS

# Gaps stand beside the statuses of a recording's ticks under this name.
GAP: Final = "gap"


class SymbolTable:
    """States by symbol, limited in number; symbols without recent ticks make room for new ones."""

    def __init__(
        self,
        settings: FeatureSettings,
        evicted: Callable[[str], None] = lambda symbol: None,
        window_days: int = WINDOW_DAYS,
    ) -> None:
        """Start empty; `evicted` is called with each removed symbol, scores cover `window_days`."""
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
        """Return the counts of each symbol's feed as table rows, sorted by symbol."""
        rows = []
        for state in sorted(self, key=lambda state: state.symbol):
            quality = state.quality()
            row = {"symbol": state.symbol, "gaps": quality.gaps, "duplicates": quality.duplicates}
            rows.append({**row, "late": quality.late, "verdict": quality.verdict})
        return rows

    def get(self, symbol: str) -> SymbolState:
        """Return the state of a known symbol. Raises UnknownSymbolError with similar names."""
        state = self._states.get(symbol)
        if state is None:
            raise UnknownSymbolError(symbol, self._states)
        return state

    def state_for(self, symbol: str, time_ns: int) -> SymbolState:
        """Return the state of a symbol, created if the symbol is new.

        Raises InvalidTickError if the symbol is not configured, or if the table is full of symbols
        that had a tick within `symbol_ttl_s` before `time_ns` (event time).
        """
        state = self._states.get(symbol)
        if state is None:
            if self._settings.symbols and symbol not in self._settings.symbols:
                raise InvalidTickError("symbol", "is not in features.symbols", "unknown_symbol")
            self._make_room(time_ns)
            state = SymbolState(symbol, self._settings, self._window_days)
            self._states[symbol] = state
        return state

    def apply(
        self, ticks: Iterable[Tick], statuses: Counter[str] | None = None
    ) -> Iterator[SymbolState]:
        """Apply a whole recording, and yield the symbol's state after each applied tick.

        Ticks for which there is no state are left out: the daemon dead-letters these. `statuses`
        counts ticks by their status or by the reason of such a letter; see also `tally`.
        """
        statuses = Counter() if statuses is None else statuses
        for tick in ticks:
            try:
                state = self.state_for(tick.symbol, tick.time_ns)
            except InvalidTickError as error:
                statuses[error.reason] += 1
                continue
            statuses[state.add(tick).value] += 1
            while state.advance() is not None:
                yield state
        for state in self:
            state.finish()
            while state.advance() is not None:
                yield state
        self.tally(statuses)

    def tally(self, statuses: Counter[str]) -> None:
        """Count the bad prints among the new ticks, and the gaps, at the end of a recording."""
        for state in self:
            # One that still waits is not confirmed by any other tick.
            statuses[BAD_PRINT] += state.prints.dropped + (state.prints.held is not None)
            statuses[GAP] += state.validator.gaps

    def _make_room(self, time_ns: int) -> None:
        if len(self._states) < self._settings.max_symbols:
            return
        expired = [
            symbol
            for symbol, state in self._states.items()
            # Of the newest tick that came: it may still wait, and have given no row.
            if (newest := state.validator.last_ns) is None or time_ns - newest > self._ttl_ns
        ]
        for symbol in expired:
            del self._states[symbol]
            self._evicted(symbol)
        if not expired:
            detail = f"the table already holds max_symbols = {self._settings.max_symbols}"
            raise InvalidTickError("symbol", detail, "max_symbols")

    def restore(self, symbol: str, state: Mapping[str, Any], time_ns: int) -> None:
        """Restore a stored state, unless the table has a newer one.

        Raises StateError or KeyError if it is not valid, and InvalidTickError as `state_for` does.
        """
        # Newer means a higher offset: a late writer may leave an old state as the last record.
        known = self._states.get(symbol)
        if known is not None and known.offset >= state["offset"]:
            return
        self._states.pop(symbol, None)
        restored = self.state_for(symbol, time_ns)
        # Not in the table until it is whole, because ticks would go on from a part of a state.
        del self._states[symbol]
        restored.restore(state)
        self._states[symbol] = restored

    def drop(self, symbol: str) -> None:
        """Remove a symbol, which another instance now owns."""
        self._states.pop(symbol, None)
