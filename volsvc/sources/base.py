"""The protocols of a source of ticks and of the events that it reports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol

from volsvc.domain import FeedError, InvalidTickError, SourceRow
from volsvc.domain.minute_bars import PastBars

# Rows that are read at once: about a millisecond of work.
BATCH_ROWS = 512

# Returns true for a row that is to be left out.
Skip = Callable[[SourceRow], bool]


class KnownTick(NamedTuple):
    """The newest tick of a symbol that an earlier run has left; times are event times in ns."""

    time_ns: int
    price: float
    trade_id: int | None


# Returns the newest tick that is known of a symbol when a source begins.
Known = Callable[[str], KnownTick | None]


def nothing_known(symbol: str) -> KnownTick | None:
    """Return None: no run was before this one."""
    return None


# Returns the bars of a symbol before a tick, given by its event time in ns; None if it needs none.
PastOf = Callable[[str, int], PastBars | None]


def no_past(symbol: str, time_ns: int) -> PastBars | None:
    """Return None: a symbol starts with its first tick."""
    return None


class Source(Protocol):
    """A finite or endless stream of ticks, in the order in which they are to be published.

    Two sources with the same `identity` yield the same tick at the same position, so that a
    publisher can resume from the end of the log. Positions rise.
    """

    @property
    def identity(self) -> str:
        """The name of the stream, as it is written to the log."""
        ...

    @property
    def feed(self) -> str:
        """The name of the market behind the stream: what was learnt of one is true of the next.

        Streams of the same feed are of the same symbols, one after the other in event time.
        """
        ...

    @property
    def prompt(self) -> int:
        """The number of symbols, at least, whose first ticks are due when the source begins."""
        ...

    def batches(self, skip: Skip) -> AsyncIterator[Sequence[SourceRow]]:
        """Yield ticks when they are due, in non-empty batches, without those to be skipped."""
        ...


class SourceEvents(Protocol):
    """Receives the events of a replay: invalid rows, and the lateness."""

    def rejected(self, path: str, line: int, error: InvalidTickError) -> None:
        """Handle a row that was skipped."""
        ...

    def out_of_order(self, path: str, line: int, error: InvalidTickError) -> None:
        """Handle a row whose time goes back; it is published, and the symbol's state decides."""
        ...

    def ended(self, path: str, rejected: int) -> None:
        """Handle the end of a recording, with the number of its rows that were skipped."""
        ...

    def late(self, seconds: float) -> None:
        """Handle the time by which the replay is behind its schedule."""
        ...


class FeedEvents(Protocol):
    """Receives the events of a live source; `connection` numbers its connections from 0."""

    def connecting(self, connection: int, symbols: Sequence[str]) -> None:
        """Handle the first attempt to open a connection."""
        ...

    def delivering(self, connection: int, symbols: Sequence[str]) -> None:
        """Handle the first data of a connection."""
        ...

    def not_taken(self, connection: int, symbols: Sequence[str], detail: str) -> None:
        """Handle messages of a connection of which none gave a tick that could be taken."""
        ...

    def disconnected(self, connection: int, symbols: Sequence[str], error: FeedError) -> None:
        """Handle a connection that broke, was refused or fell silent; it will be reopened."""
        ...

    def unavailable(self, symbol: str, detail: str) -> None:
        """Handle a symbol that the venue refuses; the other symbols are not affected."""
        ...

    def available(self, symbol: str) -> None:
        """Handle a symbol whose subscription the venue confirms."""
        ...

    def message(self, kind: str) -> None:
        """Count a message by its kind, such as data, heartbeat, duplicate or malformed."""
        ...

    def rejected_tick(self, error: InvalidTickError) -> None:
        """Handle a message, or an entry of one, that is not a valid tick."""
        ...

    def gap(self, symbol: str, kind: str, missing: int) -> None:
        """Handle lost `messages` of a connection (symbol empty) or lost `trades` of a symbol."""
        ...

    def backfilled(self, symbol: str, trades: int) -> None:
        """Count missing trades that were fetched over REST and published in order."""
        ...

    def warmed(self, symbol: str, minutes: int) -> None:
        """Handle a symbol that begins with so many minutes of the venue's candles."""
        ...

    def not_warmed(self, symbol: str, reason: str) -> None:
        """Handle a symbol that begins cold, since its candles did not come."""
        ...

    def delay(self, seconds: float) -> None:
        """Record the time from a tick's event to its receipt; negative if the clocks disagree."""
        ...

    def rest(self, outcome: str) -> None:
        """Count a REST request by its outcome: ok, throttled or failed."""
        ...
