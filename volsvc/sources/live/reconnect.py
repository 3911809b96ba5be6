"""The time before a connection is tried again, and the symbols that the venue has refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from volsvc.backoff import Backoff

RECONNECT_BASE_S = 0.1
# A refused symbol is asked for again after this long at least, and after at most the second more;
# that doubles up to the third. The venue's list of symbols changes once in days.
REFUSED_LEAST_S, REFUSED_BASE_S, REFUSED_MAX_S = 120.0, 60.0, 1_800.0


class ReconnectPolicy:
    """The waits before a connection is tried again, and the symbols that it leaves out."""

    def __init__(self, reconnect_max_s: float, clock: Callable[[], float]) -> None:
        """`clock` counts seconds."""
        self.refused = RefusedSymbols(clock)
        self._backoff = Backoff(RECONNECT_BASE_S, reconnect_max_s)

    def delay_s(self) -> float:
        """Return the seconds to wait after the end of a connection."""
        return self._backoff.delay_s()

    def data_received(self) -> None:
        """Start again from short waits."""
        # Only data do that: a venue that accepts connections and then refuses subscriptions must
        # not be flooded with attempts.
        self._backoff.reset()


class RefusedSymbols:
    """The symbols of a connection that its venue refused by name, left out until they are due."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` counts seconds."""
        self._clock = clock
        self._due_s: dict[str, float] = {}
        self._backoffs: dict[str, Backoff] = {}

    def refused(self, symbol: str) -> None:
        """Leave a symbol out, for longer each time."""
        backoff = self._backoffs.setdefault(symbol, Backoff(REFUSED_BASE_S, REFUSED_MAX_S))
        self._due_s[symbol] = self._clock() + REFUSED_LEAST_S + backoff.delay_s()

    def confirmed(self, symbol: str) -> None:
        """Forget that a symbol was refused."""
        self._due_s.pop(symbol, None)
        self._backoffs.pop(symbol, None)

    def without(self, symbols: Sequence[str]) -> Sequence[str]:
        """Return the symbols to ask for now."""
        now_s = self._clock()
        return [symbol for symbol in symbols if self._due_s.get(symbol, now_s) <= now_s]

    def wait_s(self) -> float:
        """Return the seconds until the next refused symbol is due."""
        return max(0.0, min(self._due_s.values(), default=0.0) - self._clock())
