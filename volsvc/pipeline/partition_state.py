"""The states of the partitions that this instance owns: restored, kept, and defended.

A state's offset says which ticks are inside it, so of two states the one with the higher offset is
newer, whoever wrote it and whenever it arrived. Compaction, however, keeps what was written last:
an owner that was paused, lost its partitions and goes on may write an old state after a new one.
The owner that sees that writes its own again at once, long before compaction may look at either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing

from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusError, InvalidTickError, UnknownSymbolError
from volsvc.features import StateError, SymbolState, SymbolTable
from volsvc.telemetry.logs import get_logger
from volsvc.transport import Bus, Position, Record
from volsvc.transport.codec import decode_state
from volsvc.transport.features_record import RecordHeader, read_header

# States restored in a row: a few milliseconds of work, after which requests are served.
YIELD_EVERY = 8

log = get_logger(__name__)


class PartitionState:
    """Which partitions are ours, and how far their features topic was read when they came."""

    def __init__(self, bus: Bus, topics: KafkaSettings, table: SymbolTable) -> None:
        self._bus = bus
        self._topics = topics
        self._table = table
        self._read_to: dict[int, int] = {}
        self._kept: dict[int, tuple[int, int]] = {}

    def forget(self) -> None:
        """Start from the log: nothing in memory is known to be still true."""
        self._read_to.clear()
        self._kept.clear()
        self._drop_except(())

    async def take(self, positions: Mapping[int, Position]) -> list[SymbolState]:
        """Make the newest state of every symbol in these partitions ours.

        Returns the states that have to be written again. Raises BusError when the states belong to
        another log of ticks than the one that is there.
        """
        # If nobody has committed since we let a partition go, what we have kept is the newest.
        kept = {p for p, at in positions.items() if p in self._kept and self._kept[p][0] == at.next}
        self._drop_except(kept)
        self._read_to = {p: self._kept[p][1] if p in kept else 0 for p in positions}
        self._kept.clear()
        fresh = [p for p in positions if p not in kept]
        contested = await self._restore(fresh) if fresh else []
        self._check(positions)
        if fresh:
            log.info("state_restored", partitions=sorted(fresh), symbols=len(self._table))
        return contested

    def _drop_except(self, partitions: Iterable[int]) -> None:
        for state in list(self._table):
            if state.partition not in partitions:
                self._table.drop(state.symbol)

    async def _restore(self, partitions: list[int]) -> list[SymbolState]:
        newest: dict[str, tuple[RecordHeader, Record]] = {}
        last: dict[str, int] = {}
        source = self._bus.read_all(self._topics.features_topic, partitions)
        async with aclosing(source):  # type: ignore[type-var]
            async for batch in source:
                for record in batch:
                    seen = read_header(record)
                    self._read_to[record.partition] = record.offset + 1
                    if seen is None:
                        continue
                    last[seen.symbol] = seen.offset
                    if seen.symbol not in newest or seen.offset >= newest[seen.symbol][0].offset:
                        newest[seen.symbol] = seen, record
        contested = []
        for done, (seen, record) in enumerate(newest.values(), 1):
            state = self._adopt(record)
            if state is not None and last[seen.symbol] < seen.offset:
                contested.append(state)
            if done % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        return contested

    def _adopt(self, record: Record) -> SymbolState | None:
        try:
            stored = decode_state(record)
            if stored is None:
                return None
            self._table.restore(stored.symbol, stored.state, stored.time_ns)
            return self._table.get(stored.symbol)
        except (InvalidTickError, StateError, KeyError, TypeError, ValueError) as error:
            log.warning("state_not_restored", **record.place, error=str(error))
            return None

    def _check(self, positions: Mapping[int, Position]) -> None:
        """Refuse states of ticks that the log has never had: every new tick would be skipped."""
        for state in self._table:
            at = positions.get(state.partition)
            if at is not None and at.fresh and state.offset >= at.end:
                raise BusError(
                    f"the state of {state.symbol} is of offset {state.offset}, but "
                    f"{self._topics.topic}/{state.partition} ends at {at.end}: the topic was made "
                    f"anew; delete {self._topics.features_topic} too, or name other topics"
                )

    def release(self, partitions: Iterable[int], committed: Mapping[int, int]) -> None:
        """Let partitions go; their states stay until it is known who has them next.

        `committed` are the offsets up to which their states are flushed and committed.
        """
        for partition in partitions:
            read_to = self._read_to.pop(partition, 0)
            if partition in committed:
                self._kept[partition] = committed[partition], read_to

    def contested(self, seen: RecordHeader) -> SymbolState | None:
        """Our state, if another process has just written an older one over it."""
        read_to = self._read_to.get(seen.partition)
        if read_to is None:
            # Somebody wrote while the partition was on its way: what was kept proves nothing.
            self._kept.pop(seen.partition, None)
            return None
        if seen.position < read_to:
            return None
        try:
            state = self._table.get(seen.symbol)
        except UnknownSymbolError:
            return None
        return state if seen.offset < state.offset else None
