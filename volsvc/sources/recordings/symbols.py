"""Symbols of the exchanges of a recording."""

from __future__ import annotations

from volsvc.domain import is_symbol


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
