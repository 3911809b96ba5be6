"""The consumer task: ticks from the bus become state, forecasts, and published features."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing

from volsvc.config.kafka import KafkaSettings
from volsvc.failpoints import failpoint
from volsvc.features import SymbolState, SymbolTable
from volsvc.pipeline.forecaster import Forecaster
from volsvc.pipeline.output_publisher import OutputPublisher, Outputs
from volsvc.pipeline.refused_ticks import RefusedTicks
from volsvc.pipeline.state_recovery import StateRecovery
from volsvc.pipeline.tick_applier import TickApplier, TickSlice
from volsvc.telemetry.health import Health
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics
from volsvc.telemetry.tracing import OFF, Tracer, parent_of
from volsvc.transport import Bus, Position, Record, Subscription
from volsvc.transport.features_record import RecordHeader

# Records after which a commit is due even within `commit_interval_s`: they bound what a crash at
# full speed makes the next owner process again: some tenths of a second of work.
COMMIT_RECORDS = 16_000
# States dumped and encoded in a row while flushing, some milliseconds of work.
FLUSH_STATES = 8

log = get_logger(__name__)


class Consumer:
    """Keeps the states of the assigned partitions, and publishes and commits them.

    Before an offset is committed, the state behind it is published; so at every moment the newest
    published state and the ticks after its offset give the state in memory, bit for bit.
    """

    def __init__(
        self,
        bus: Bus,
        topics: KafkaSettings,
        table: SymbolTable,
        forecaster: Forecaster,
        metrics: Metrics,
        tracer: Tracer = OFF,
        health: Health | None = None,
    ) -> None:
        """Each batch is processed in a span of `tracer`, in the trace that its first record names.

        `forecaster` writes features records as `bus.identity`; `health` gets the check `ticks`.
        """
        self._bus = bus
        self._topics = topics
        self._table = table
        self._forecaster = forecaster
        self._metrics = metrics
        self._tracer = tracer
        self._applier = TickApplier(table, forecaster.latest_store, metrics)
        self._refused_ticks = RefusedTicks(health or Health())
        self._publisher = OutputPublisher(bus, topics, metrics)
        self._state_recovery = StateRecovery(bus, topics, table, self._note_restored)
        self._subscription: Subscription | None = None
        self._uncommitted: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._pending_records = 0
        self._flushed_at = time.monotonic()
        # Set while the states of the assigned partitions are in the table.
        self.restored = asyncio.Event()

    async def run(self, worked: Callable[[], None] = lambda: None) -> None:
        """Consume until the bus closes; what was processed is committed when this returns.

        `worked` is called after each batch, though not before the first state is restored.
        """
        # After a failure nothing in memory is trusted: another process may own the partitions by
        # now, and the log holds everything that was committed.
        self._uncommitted.clear()
        self._committed.clear()
        self._applier.take_dirty()
        # What it holds of them stays until it is newer elsewhere.
        self._forecaster.latest_store.settle()
        self._state_recovery.reset()
        # Nothing waits for a commit yet, whatever the clock says or an earlier run has left.
        self._pending_records, self._flushed_at = 0, time.monotonic()
        self.restored.clear()
        subscription = self._bus.subscribe(self._topics.topic, self._topics.group_id, self)
        self._subscription = subscription
        batches = subscription.batches()
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                parent = parent_of(batch[0].headers) if batch else None
                with self._tracer.span(f"process {self._topics.topic}", "consumer", parent=parent):
                    await self._process(batch)
                # An empty batch means that nothing waits, so a commit now delays no tick.
                if not batch or self._flush_due():
                    await self.flush()
                if self.restored.is_set():
                    worked()

    async def _process(self, batch: Sequence[Record]) -> None:
        outputs = Outputs()
        for tick_slice in self._applier.slices(batch):
            self._uncommitted |= tick_slice.next_offsets
            self._finish(tick_slice, outputs)
            await asyncio.sleep(0)
        self._pending_records += len(batch)
        await self._publisher.publish(outputs)

    def _finish(self, tick_slice: TickSlice, outputs: Outputs) -> None:
        """Forecast at a slice's points and for the symbols that it updated."""
        self._refused_ticks.note(tick_slice)
        outputs.dead_letters += tick_slice.dead_letters
        if tick_slice.applied is not None:
            published = self._forecaster.forecast(tick_slice.applied, outputs)
            self._applier.mark_clean(published)
            self._forecaster.note_updated(tick_slice.updated)
        if tick_slice.past is not None:
            self._forecaster.learn_past(tick_slice.past, outputs)

    # --- commits --------------------------------------------------------------------------

    def _flush_due(self) -> bool:
        return (
            self._pending_records >= COMMIT_RECORDS
            or time.monotonic() - self._flushed_at >= self._topics.commit_interval_s
        )

    async def flush(self) -> bool:
        """Publish the state of every symbol that changed, then commit what was processed.

        Returns False if one of the partitions is no longer assigned to us.
        """
        # Publish outcomes, publish states, commit offsets: never another order. A crash between
        # two of them repeats work, which offsets inside the states detect, and loses nothing.
        # More than once if the topic of the states turns out to be a new one (`topic_recreated`).
        while (changed := await self._changed_states()).features:
            await self._publisher.publish(changed)
        committed = True
        if self._uncommitted and self._subscription is not None:
            failpoint("before_commit")
            committed = await self._subscription.commit(dict(self._uncommitted))
            failpoint("after_commit")
        if committed:
            self._committed |= self._uncommitted
        self._uncommitted.clear()
        self._pending_records = 0
        self._flushed_at = time.monotonic()
        return committed

    async def _changed_states(self) -> Outputs:
        outputs = Outputs()
        symbols = self._applier.take_dirty()
        rows = [row for symbol in symbols if (row := self._table.known_row(symbol)) is not None]
        for start in range(0, len(rows), FLUSH_STATES):
            self._forecaster.publish_newest(rows[start : start + FLUSH_STATES], outputs)
            await asyncio.sleep(0)
        return outputs

    # --- assignment -----------------------------------------------------------------------

    async def assigned(self, positions: Mapping[int, Position]) -> None:
        """Restore the newest published state of every symbol in these partitions."""
        overwritten = await self._state_recovery.acquire(positions)
        self._committed = {p: at.next for p, at in positions.items() if not at.fresh}
        for state in overwritten:
            self._publish_again(state)
        self.restored.set()

    def _note_restored(self, state: SymbolState, processed_s: float) -> None:
        """Have `/latest` answer for a symbol from before its next tick on."""
        self._forecaster.latest_store.note(state.symbol, processed_s, state.offset)

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Flush, commit, and release the states of these partitions."""
        committed = self._committed if await self.flush() else {}
        self._forecaster.latest_store.settle()
        self._state_recovery.release(partitions, committed)
        self._committed = {}

    def records_lost(self, partition: int, records: int) -> None:
        """Report ticks that the log's retention deleted unread: a gap in every symbol there."""
        self._metrics.kafka.lost.inc(records)
        log.error("ticks_lost", partition=partition, records=records, reason="retention")
        self._applier.note_loss(partition)

    def topic_recreated(self, topic: str) -> None:
        """Publish all of our states again if the topic in which they were is a new one."""
        if topic != self._topics.features_topic:
            return
        states = self._state_recovery.defend_all()
        log.error("states_lost", topic=topic, published_again=len(states), reason="recreated")
        for state in states:
            self._publish_again(state)

    def check_remote_write(self, header: RecordHeader) -> None:
        """Publish our state again if another process's record has put an older one over it."""
        state = self._state_recovery.overwritten(header)
        if state is not None:
            self._publish_again(state)

    def _publish_again(self, state: SymbolState) -> None:
        self._metrics.kafka.rewrites.inc()
        self._applier.mark_dirty(state.symbol)
        # Makes the next flush due at once, before compaction may remove the newer record.
        self._flushed_at = -math.inf
