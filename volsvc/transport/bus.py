"""The interface of a bus: keyed records in partitions with offsets, subscriptions, and commits.

Two implementations, `memory` and `kafka`, pass the same contract tests. Delivery to a subscriber is
at-least-once, and so is publication: a publisher reads from the log's end what has arrived, and one
that was killed may miss a request that was still on its way. Processing is exactly-once for every
record of the log, because every state carries the offset that it is valid for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

# The offset of the next record, by partition.
Offsets = Mapping[int, int]

Headers = tuple[tuple[str, bytes], ...]


class Beginning(NamedTuple):
    """The offsets at which a reader begins: `positions`, and the start of other partitions.

    Of what each partition holds it reads the newest `most` records; None: all.
    """

    positions: Offsets = MappingProxyType({})
    most: int | None = None

    def offset(self, partition: int, start: int, end: int) -> int:
        """Return the first offset in a partition that holds those from `start` to `end`."""
        at = self.positions.get(partition, start)
        # A position beyond the end is one of a log that is gone.
        at = at if start <= at <= end else start
        return at if self.most is None else max(at, end - self.most)


FROM_START: Final = Beginning()


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
    """A record of the log; `timestamp_ms` is when it was published, 0 if that is unknown."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int = 0

    @property
    def place(self) -> dict[str, str | int]:
        """The place of the record in the log, as the fields of a log line."""
        return {"topic": self.topic, "partition": self.partition, "offset": self.offset}


class Position(NamedTuple):
    """The offset `next` at which a new owner of a partition starts, in a log that ends at `end`.

    `fresh` is True if the group has committed nothing in the partition yet.
    """

    next: int
    end: int
    fresh: bool = True


class Lag(NamedTuple):
    """The distance between what was processed and a partition's end.

    `seconds` is the time since the newest processed record was published, while others wait behind
    it; 0 at the end, None while no record was processed.
    """

    records: int
    seconds: float | None = None


class BusEvents(Protocol):
    """Receives the state changes of a bus, for health and metrics."""

    def connected(self, part: str, up: bool, reason: str) -> None:
        """Report that a client part (`producer`, `consumer`) reached the bus or lost it."""
        ...

    def lag(self, topic: str, lags: Mapping[int, Lag]) -> None:
        """Report the lag of each assigned partition for which it is known."""
        ...

    def rebalanced(self) -> None:
        """Report a change of the assignment of partitions."""
        ...


class RebalanceListener(Protocol):
    """Receives the changes of a subscription's partitions; owns the state behind them."""

    async def assigned(self, positions: Mapping[int, Position]) -> None:
        """Restore the state of newly assigned partitions, before their first record."""
        ...

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Flush, commit and give up the state of partitions, before others own them."""
        ...

    def records_lost(self, partition: int, records: int) -> None:
        """Report records that the log's retention deleted before they were read."""
        ...

    def topic_recreated(self, topic: str) -> None:
        """Report a topic that was deleted with what was published to it, and created again."""
        ...


class Subscription(Protocol):
    """A group member's subscription to a topic."""

    def batches(self) -> AsyncIterator[Sequence[Record]]:
        """Yield batches of records, in the order of their offsets within each partition.

        An empty batch is yielded when nothing came for a while. Ends after `Bus.close`: in
        process, when everything published has been delivered; on Kafka at once, because the log
        keeps the rest for the next start.
        """
        ...

    async def commit(self, offsets: Offsets) -> bool:
        """Record that everything before `offsets` is processed, state included.

        Returns False if one of the partitions is no longer assigned to this member, for which
        nothing is recorded then.
        """
        ...


class Bus(Protocol):
    """A log of topics, with publishers, readers and consumer groups."""

    @property
    def identity(self) -> str:
        """The name of this process as a writer; every start of a process has another one."""
        ...

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append `records` in order and wait until all are durable; waits while the log is full.

        Raises BusUnavailableError if it is unknown whether all were appended: read the tail before
        a retry that must not append them twice.
        """
        ...

    async def tail(self, topic: str) -> Sequence[Record]:
        """Return the newest record of each partition that has one."""
        ...

    async def ends(self, topic: str, partitions: Sequence[int]) -> Offsets:
        """Return the end of each partition; raises BusUnavailableError without an answer."""
        ...

    def read_all(self, topic: str, partitions: Sequence[int]) -> AsyncIterator[Sequence[Record]]:
        """Yield the retained records of `partitions`, up to the end that they have now."""
        ...

    def follow(
        self, topic: str, reader: str, beginning: Beginning = FROM_START
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield the retained records of a topic and all that follow, until the bus closes.

        The first empty batch means that everything present at the start has been delivered; later
        ones mean that nothing came for a while. `reader` names the part that reads, for health.
        """
        ...

    def subscribe(self, topic: str, group: str, listener: RebalanceListener) -> Subscription:
        """Join `group` on `topic`; starts at the group's committed offsets, else at the start."""
        ...

    async def ready(self) -> None:
        """Wait until the topics exist, which `partition_for` requires.

        Raises BusError if they cannot come to exist, or are no longer those that they were.
        """
        ...

    def partition_for(self, topic: str, key: bytes) -> int:
        """Return the partition to which records of `key` go."""
        ...

    def log_name(self, topic: str) -> str:
        """Return the name of a topic and its number of partitions, in which offsets are valid."""
        ...

    async def close(self) -> None:
        """End the subscriptions; an in-process bus takes no more records for them."""
        ...

    async def stop(self) -> None:
        """Close every connection."""
        ...
