"""The seam between a source of ticks and whatever publishes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from volsvc.domain import FeedError, InvalidTickError, SourceRow

# Rows read at once: about a millisecond of work.
BATCH_ROWS = 512

Skip = Callable[[SourceRow], bool]


class Source(Protocol):
    """An endless or finite stream of ticks, in the order in which they are to be published.

    `identity` names the stream: two sources with the same identity give the same tick at the same
    position, so that a publisher can tell from the log's end where to go on. Positions rise.
    """

    @property
    def identity(self) -> str:
        """The name of the stream, for the log."""
        ...

    def batches(self, skip: Skip) -> AsyncIterator[Sequence[SourceRow]]:
        """Ticks as they become due, in non-empty batches, without those that `skip` names."""
        ...


class SourceEvents(Protocol):
    """What a source tells its owner: problems with rows, and how well the pace is kept."""

    def rejected(self, path: str, line: int, error: InvalidTickError) -> None:
        """A row was skipped."""
        ...

    def out_of_order(self, path: str, line: int, error: InvalidTickError) -> None:
        """A row's time goes back; it is passed on, and the symbol's state decides."""
        ...

    def late(self, seconds: float) -> None:
        """The replay is this far behind its schedule."""
        ...


# Every reason for which a connection ends; `data` and `heartbeat` did not come in time.
FEED_REASONS = (
    "closed",
    "connect",
    "data",
    "heartbeat",
    "protocol",
    "refused",
    "unconfirmed",
)

# Kinds of messages that are counted; a `known_trade` is one inside a message, had before.
FEED_MESSAGES = (
    "data",
    "duplicate",
    "error",
    "heartbeat",
    "known_trade",
    "malformed",
    "reordered",
    "reset",
    "unasked",
)


class FeedEvents(Protocol):
    """What a live source tells its owner. `connection` counts the source's connections from 0."""

    def connecting(self, connection: int, symbols: Sequence[str]) -> None:
        """A connection is being opened for the first time."""
        ...

    def delivering(self, connection: int, symbols: Sequence[str]) -> None:
        """The first data of a connection have come."""
        ...

    def disconnected(self, connection: int, symbols: Sequence[str], error: FeedError) -> None:
        """A connection broke, was refused or fell silent; it will be opened again."""
        ...

    def unavailable(self, symbol: str, detail: str) -> None:
        """The venue refuses this symbol, in these words; the others go on."""
        ...

    def message(self, kind: str) -> None:
        """A message came: data, heartbeat, duplicate, malformed and so on."""
        ...

    def rejected_tick(self, error: InvalidTickError) -> None:
        """A message, or an entry of one, was no valid tick."""
        ...

    def gap(self, symbol: str, kind: str, missing: int) -> None:
        """So many `messages` of a connection (symbol empty) or `trades` of a symbol are lost."""
        ...

    def backfilled(self, symbol: str, trades: int) -> None:
        """Missed trades came over REST and were passed on in their place."""
        ...

    def delay(self, seconds: float) -> None:
        """Time from a tick's event to its receipt; negative when the clocks disagree."""
        ...

    def rest(self, outcome: str) -> None:
        """A REST request ended: ok, throttled or failed."""
        ...
