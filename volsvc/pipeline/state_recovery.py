"""The symbol states of the assigned partitions: restored, kept, and defended.

A state's offset is that of the newest tick inside it, so of two states the one with the higher
offset is newer, whoever wrote it and whenever it arrived. Compaction, however, keeps the record
that was written last: an owner that was paused, lost its partitions and resumes may write an old
state after a new one. The owner that sees such a record publishes its own state again at once, long
before compaction may look at either (`min.compaction.lag.ms` of the features topic).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import NamedTuple

from volsvc.config.kafka import KafkaSettings
from volsvc.domain import NS, BusError, InvalidTickError, UnknownSymbolError
from volsvc.features import StateError, SymbolState, SymbolTable
from volsvc.telemetry.logs import get_logger
from volsvc.transport import Bus, Position, Record
from volsvc.transport.codec import RestoredState, decode_state
from volsvc.transport.features_record import RecordHeader, read_header
from volsvc.transport.partitions import changed_partitions

# States restored in a row: a few milliseconds of work, after which requests are served.
YIELD_EVERY = 8

log = get_logger(__name__)


class _Released(NamedTuple):
    """A partition that was revoked: the offset committed for it, and the end of its features."""

    committed: int
    features_end: int


class StateRecovery:
    """Restores and releases the symbol states of partitions, and detects overwritten ones."""

    def __init__(
        self,
        bus: Bus,
        topics: KafkaSettings,
        table: SymbolTable,
        restored: Callable[[SymbolState, float], None] = lambda state, processed_s: None,
    ) -> None:
        """`restored` is called with each restored state, and when its newest tick was processed."""
        self._restored = restored
        self._bus = bus
        self._topics = topics
        self._table = table
        # By assigned partition: the offset in the features topic up to which it was restored.
        self._features_end: dict[int, int] = {}
        self._released: dict[int, _Released] = {}

    def reset(self) -> None:
        """Drop every state, so that the next assignment restores all of them from the log."""
        self._features_end.clear()
        self._released.clear()
        self._drop_except(())

    async def acquire(self, positions: Mapping[int, Position]) -> list[SymbolState]:
        """Bring the newest state of every symbol in these partitions into the table.

        Returns the states over which an older one was written, which have to be published again.
        States that name another topic of ticks are left where they are. Raises BusError if states
        belong to another log of the present name.
        """
        # A committed offset that is still ours proves that nobody owned the partition since: what
        # we have kept is then the newest, and the sticky assignor's round trips cost no restore.
        released = self._released
        kept = {p for p, at in positions.items() if p in released and released[p][0] == at.next}
        self._drop_except(kept)
        self._features_end = {p: released[p].features_end if p in kept else 0 for p in positions}
        released.clear()
        to_restore = [p for p in positions if p not in kept]
        overwritten = await self._restore(to_restore) if to_restore else []
        await self._check(positions)
        if to_restore:
            log.info("state_restored", partitions=sorted(to_restore), symbols=len(self._table))
        return overwritten

    def _drop_except(self, partitions: Iterable[int]) -> None:
        for state in list(self._table):
            if state.partition not in partitions:
                self._table.drop(state.symbol)

    async def _restore(self, partitions: list[int]) -> list[SymbolState]:
        newest: dict[str, tuple[RecordHeader, Record]] = {}
        last_offsets: dict[str, int] = {}
        async for header, record in self._states(partitions):
            symbol, offset = header.symbol, header.offset
            last_offsets[symbol] = offset
            if symbol not in newest or offset >= newest[symbol][0].offset:
                newest[symbol] = header, record
        # Decoded only now: of a symbol's many records the newest alone is needed.
        overwritten = []
        migrated = 0
        for done, (header, record) in enumerate(newest.values(), 1):
            stored = _decoded(record)
            state = None if stored is None else self._restore_state(record, stored)
            if stored is not None and state is not None:
                migrated += not isinstance(stored.content, bytes)
                if last_offsets[header.symbol] < header.offset:
                    overwritten.append(state)
            if done % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        if migrated:
            log.info("states_migrated", symbols=migrated)
        return overwritten

    async def _states(self, partitions: list[int]) -> AsyncIterator[tuple[RecordHeader, Record]]:
        """Yield the records of states in partitions, but for those of another log of ticks."""
        ticks = self._bus.log_name(self._topics.topic)
        foreign: dict[str, set[str]] = defaultdict(set)
        batches = self._bus.read_all(self._topics.features_topic, partitions)
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                for record in batch:
                    header = read_header(record)
                    self._features_end[record.partition] = record.offset + 1
                    if header is not None and header.counts_in(ticks):
                        yield header, record
                    elif header is not None:
                        foreign[header.ticks].add(header.symbol)
        for other, symbols in foreign.items():
            if other.rpartition("/")[0] == self._topics.topic:
                states = f"{self._topics.features_topic} has states of {other}"
                raise changed_partitions(self._topics, f"{states}, which is {ticks} now")
            log.warning("states_not_restored", symbols=len(symbols), of=other, ticks=ticks)

    def _restore_state(self, record: Record, stored: RestoredState) -> SymbolState | None:
        try:
            state = self._table.restore(stored.symbol, stored.content, stored.time_ns)
        except (InvalidTickError, StateError) as error:
            _warn(record, error)
            return None
        if stored.processed_ns is not None:
            self._restored(state, stored.processed_ns / NS)
        return state

    async def _check(self, positions: Mapping[int, Position]) -> None:
        # With nothing committed and a state beyond the log's end, the ticks are another log's, and
        # every new tick up to the state's offset would be skipped as one that is inside it.
        beyond = [state for state in self._table if _is_beyond(state, positions)]
        if not beyond:
            return
        # The end was measured before the restore. If this process was paused in between, another
        # owner may have gone on, and its states are of ticks after that end; of none after this.
        partitions = sorted({state.partition for state in beyond})
        ends = await self._bus.ends(self._topics.topic, partitions)
        for state in beyond:
            end = ends[state.partition]
            if state.offset >= end:
                raise BusError(
                    f"the state of {state.symbol} is of offset {state.offset}, but "
                    f"{self._topics.topic}/{state.partition} ends at {end}: the topic was "
                    f"recreated; delete {self._topics.features_topic} too, or use other topics"
                )

    def release(self, partitions: Iterable[int], committed: Mapping[int, int]) -> None:
        """Give partitions up, but keep their states until the next assignment is known.

        `committed` has the offsets up to which their states are flushed and committed.
        """
        for partition in partitions:
            features_end = self._features_end.pop(partition, None)
            if features_end is not None and partition in committed:
                self._released[partition] = _Released(committed[partition], features_end)

    def overwritten(self, header: RecordHeader) -> SymbolState | None:
        """Return our state if a record of another process has put an older one over it."""
        features_end = self._features_end.get(header.partition)
        if features_end is None:
            # Another process wrote while the partition was not ours, so the states kept since its
            # release are no longer known to be the newest.
            self._released.pop(header.partition, None)
            return None
        if header.position < features_end:
            # Already taken into account by the restore, which read up to there.
            return None
        try:
            state = self._table.get(header.symbol)
        except UnknownSymbolError:
            return None
        return state if header.offset < state.offset else None

    def defend_all(self) -> list[SymbolState]:
        """Return the states of the assigned partitions, of which the log has lost all records."""
        self._features_end = dict.fromkeys(self._features_end, 0)
        self._released.clear()
        return [state for state in self._table if state.partition in self._features_end]


def _is_beyond(state: SymbolState, positions: Mapping[int, Position]) -> bool:
    at = positions.get(state.partition)
    return at is not None and at.fresh and state.offset >= at.end


def _decoded(record: Record) -> RestoredState | None:
    try:
        return decode_state(record)
    except InvalidTickError as error:
        _warn(record, error)
        return None


def _warn(record: Record, error: Exception) -> None:
    log.warning("state_not_restored", **record.place, error=str(error))
