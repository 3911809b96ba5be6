"""The bus: keyed records in partitions with offsets, consumer positions, commits.

Two implementations, `memory` and `kafka`, pass the same contract tests. The log is at-least-once
towards a subscriber; what makes it exactly once is that every state carries the offset that it is
valid for, and that a publisher can read from the log's end what has arrived.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

# By partition: the offset of the next record.
Offsets = Mapping[int, int]

Headers = tuple[tuple[str, bytes], ...]


class OutRecord(NamedTuple):
    """A record to be published; the key decides the partition unless `partition` does.

    It is stamped with the time of publication, not with its event time: a broker's retention goes
    by the stamp, and would delete a replay of last year's ticks as it is written.
    """

    key: bytes
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class Record(NamedTuple):
    """A record of the log; `timestamp_ms` is when it was published, 0 where nobody noted it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int = 0

    @property
    def place(self) -> dict[str, str | int]:
        """Where it stands in the log, as log lines say it."""
        return {"topic": self.topic, "partition": self.partition, "offset": self.offset}


class Position(NamedTuple):
    """Where a new owner of a partition goes on: at offset `next` of a log that ends at `end`.

    `fresh` when its group has committed nothing there yet.
    """

    next: int
    end: int
    fresh: bool = True


class Lag(NamedTuple):
    """How far what was processed is behind a partition's end.

    `seconds` is the time since the newest processed record was published while records wait
    behind it; None while no record was processed.
    """

    records: int
    seconds: float | None = None


class BusEvents(Protocol):
    """What a bus tells its owner: state changes, for health and metrics."""

    def connected(self, part: str, up: bool, reason: str) -> None:
        """A client part (`producer`, `consumer`) reached the bus or lost it."""
        ...

    def lag(self, topic: str, lags: Mapping[int, Lag]) -> None:
        """How far each assigned partition is behind, where known."""
        ...

    def rebalanced(self) -> None:
        """The assignment of partitions changed."""
        ...


class Assignee(Protocol):
    """Who owns the state of the partitions of a subscription."""

    async def assigned(self, positions: Mapping[int, Position]) -> None:
        """These partitions are ours now: restore their state before the first record."""
        ...

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Partitions go: flush and commit their state, then drop it."""
        ...

    def lost(self, partition: int, records: int) -> None:
        """The log's retention deleted records before they were read."""
        ...


class Subscription(Protocol):
    """One group member's view of a topic."""

    def batches(self) -> AsyncIterator[Sequence[Record]]:
        """Non-empty batches in offset order within each partition.

        An empty batch is a sign of life when nothing came for a while. Ends after `Bus.close`:
        in process, when all that was published has been delivered; on Kafka at once, because
        the log keeps the rest for the next start.
        """
        ...

    async def commit(self, offsets: Offsets) -> bool:
        """Record that everything before `offsets` is processed, state included.

        False when some of it is not ours to commit any more.
        """
        ...


class Bus(Protocol):
    """A log of topics."""

    @property
    def identity(self) -> str:
        """This process among all that ever published: a name that no other start of it has."""
        ...

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append `records` in order and wait until all are safe; waits while the log is full.

        Raises BusUnavailableError when it cannot be known whether all were appended: read the
        tail before trying again.
        """
        ...

    async def tail(self, topic: str) -> Sequence[Record]:
        """The newest record of each partition that has one."""
        ...

    def read_all(self, topic: str, partitions: Sequence[int]) -> AsyncIterator[Sequence[Record]]:
        """All that is retained of `partitions`, from their start to the end they have now."""
        ...

    def follow(self, topic: str) -> AsyncIterator[Sequence[Record]]:
        """All that is retained of a topic and all that comes, until the bus closes.

        An empty batch says that what was there at the start has been delivered; later ones are
        signs of life.
        """
        ...

    def subscribe(self, topic: str, group: str, assignee: Assignee) -> Subscription:
        """Join `group` on `topic`; goes on at the group's committed offsets, else at the start."""
        ...

    async def ready(self) -> None:
        """Wait until the topics are there; needed before `partition_for`.

        Raises BusError when they will never be.
        """
        ...

    def partition_for(self, topic: str, key: bytes) -> int:
        """The partition that records of `key` go to."""
        ...

    async def close(self) -> None:
        """No more will be published: subscriptions end, `publish` raises."""
        ...

    async def stop(self) -> None:
        """Let go of every connection."""
        ...
