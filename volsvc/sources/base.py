"""The seam between a source of ticks and whatever publishes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from volsvc.domain import InvalidTickError, SourceRow

BATCH_ROWS = 512
"""Rows read at once: about a millisecond of work."""

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
