"""The names that one reading of a recording comes to: symbols, those of exchanges, and sources."""

from __future__ import annotations

import numpy as np

from volsvc.domain import is_symbol
from volsvc.domain.tick_columns import Names
from volsvc.sources.recordings.tables.columns import Coded


class Exchanges:
    """Tells apart the symbols of several exchanges in one recording.

    Symbols of the exchange that comes first have their own names; those of any other one are
    `exchange:SYMBOL`, so that the prices of two markets are never one series.
    """

    def __init__(self) -> None:
        self._first: str | None = None

    def name(self, symbol: str, exchange: object) -> str:
        """Return the name of an exchange's symbol."""
        text = exchange.strip().lower() if isinstance(exchange, str) else ""
        self._first = text if self._first is None else self._first
        if text == self._first:
            return symbol
        # Nobody knows whose prices those without an exchange are.
        name = f"{text or 'unknown'}:{symbol}"
        return name if is_symbol(name) else symbol

    def names(self, symbols: Coded[str], exchanges: Coded[str]) -> Coded[str]:
        """Return the names of the symbols of rows, with the exchange of each."""
        pairs = symbols.codes * len(exchanges.values) + exchanges.codes
        different, rows, codes = np.unique(pairs, return_index=True, return_inverse=True)
        names = [""] * len(different)
        # In the order in which they come, because the first exchange is told by it.
        for place in np.argsort(rows).tolist():
            symbol, exchange = divmod(int(different[place]), len(exchanges.values))
            names[place] = self.name(symbols.values[symbol], exchanges.values[exchange])
        return Coded(names, codes)


class NamesRead:
    """The names that one reading of a recording has come to, in all of its files."""

    def __init__(self) -> None:
        self.symbols = Names()
        self.sources = Names()
        self.exchanges = Exchanges()
