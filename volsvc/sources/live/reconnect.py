"""The waits before a connection is tried again, and the symbols that it leaves out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from volsvc.backoff import Backoff
from volsvc.domain import FeedError
from volsvc.sources.live.watchdog import DATA

# Ceilings of the wait after a loss: from the base up to `source.reconnect_max_s`, or a share of the
# time since data last came. A wait in proportion to the outage makes it longer by that share at
# most, and ten attempts of an hour's outage are as useful as a thousand.
RECONNECT_BASE_S, OUTAGE_SHARE, OUTAGE_MAX_S = 0.1, 0.05, 120.0
# Ceilings of the wait after an answer that declines: more attempts would only prolong that.
DECLINED_BASE_S, DECLINED_MAX_S = 4.0, 300.0
# A venue that asks for a longer pause is asked again after this.
LONGEST_PAUSE_S = 3_600.0
# A refused symbol is asked for again after this long at least, and after at most the second more;
# that doubles up to the third. The venue's list of symbols changes once in days.
REFUSED_LEAST_S, REFUSED_BASE_S, REFUSED_MAX_S = 120.0, 60.0, 1_800.0


class DeclinedError(FeedError):
    """The venue answered and declined, or is none; it is asked again after longer waits.

    `pause_s` is the pause for which it asks, 0 if it does not.
    """

    def __init__(self, reason: str, detail: str, pause_s: float = 0.0) -> None:
        super().__init__(reason, detail)
        self.pause_s = pause_s


class ReconnectPolicy:
    """The waits and the refused symbols of one connection to a venue."""

    def __init__(self, reconnect_max_s: float, clock: Callable[[], float]) -> None:
        """`clock` counts seconds."""
        self.refused = RefusedSymbols(clock)
        self._clock = clock
        self._reconnect_max_s = reconnect_max_s
        self._lost = Backoff(RECONNECT_BASE_S, reconnect_max_s)
        self._declined = Backoff(DECLINED_BASE_S, max(DECLINED_MAX_S, reconnect_max_s))
        self._data_at_s = clock()

    def delay_s(self, error: FeedError) -> float:
        """Return the seconds to wait after the end of a connection."""
        if isinstance(error, DeclinedError):
            # Added, so that all connections of all clients do not come back in the same second.
            return min(error.pause_s, LONGEST_PAUSE_S) + self._declined.delay_s()
        outage_s = self._clock() - self._data_at_s
        # A market without trades looks stalled. Its connections last `data_timeout_s` each, which
        # is wait enough, and the venue is there.
        growing = 0.0 if error.reason == DATA else min(OUTAGE_SHARE * outage_s, OUTAGE_MAX_S)
        self._lost.max_s = max(self._reconnect_max_s, growing)
        return self._lost.delay_s()

    def data_received(self) -> None:
        """Start again from short waits."""
        # Only data do that: a venue that accepts connections and then refuses subscriptions must
        # not be flooded with attempts.
        self._data_at_s = self._clock()
        self._lost.reset()
        self._declined.reset()


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
