"""The consumer task: ticks from the bus become state, forecasts, and published features."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from volsvc.backoff import Backoff
from volsvc.config.kafka import KafkaSettings
from volsvc.domain import (
    NS,
    BusUnavailableError,
    InvalidTickError,
    NotATickError,
    Snapshot,
    Tick,
    format_time,
)
from volsvc.features import SymbolState, SymbolTable, TickStatus
from volsvc.models import (
    HORIZONS_S,
    MinuteClose,
    Model,
    Point,
    Scoring,
    SymbolForecasts,
    forecast_point,
    minute_closes,
)
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.partition_state import PartitionState
from volsvc.serving.holder import ModelHolder, with_fallback
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics
from volsvc.telemetry.tracing import OFF, Tracer, parent_of
from volsvc.transport import Bus, OutRecord, Position, Record, Subscription
from volsvc.transport.codec import dead_letter, decode_tick, encode_features, encode_outcome
from volsvc.transport.features_record import RecordHeader

COMMIT_RECORDS = 4_000
SLICE_STATES = 8
SLICE_MOMENTS = 40
# What is done in one go, some milliseconds; then requests have their turn.
SLICE_RECORDS = 128

log = get_logger(__name__)


Watch = Callable[[Snapshot], None]


class _Due(NamedTuple):
    """A moment with the state to publish beside it, as it was after that moment's tick.

    On the publishing grid it belongs to the symbol's digest; a flush depends on polls and does not.
    """

    point: Point
    state: Mapping[str, Any] | None
    on_grid: bool = False


@dataclass(slots=True)
class _Out:
    """What a batch of records gives to publish."""

    features: list[OutRecord] = field(default_factory=list)
    dead: list[OutRecord] = field(default_factory=list)
    judged: list[OutRecord] = field(default_factory=list)


@dataclass(slots=True)
class _Step:
    """What a slice of a batch came to: moments in their order, and the rest."""

    records: int = 0
    due: list[_Due] = field(default_factory=list)
    dead: list[OutRecord] = field(default_factory=list)
    touched: dict[str, SymbolState] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)

    @property
    def full(self) -> bool:
        """Whether it is as much as may be done in one go."""
        return (
            len(self.due) >= SLICE_STATES
            or len(self.touched) >= SLICE_MOMENTS
            or self.records >= SLICE_RECORDS
        )


class Consumer:
    """Owns the states of the assigned partitions.

    Before an offset is committed, the state behind it is published; so at every moment the newest
    published state and the ticks after its offset give the state in memory, bit for bit.
    """

    def __init__(
        self,
        bus: Bus,
        topics: KafkaSettings,
        table: SymbolTable,
        holder: ModelHolder,
        latest_store: LatestStore,
        metrics: Metrics,
    ) -> None:
        self._bus = bus
        self._topics = topics
        self._table = table
        self._partition_state = PartitionState(bus, topics, table)
        self._holder = holder
        self._latest_store = latest_store
        self._metrics = metrics
        self._horizons: tuple[float, ...] = HORIZONS_S
        self._horizon_s = HORIZONS_S[0]
        self._subscription: Subscription | None = None
        self._uncommitted: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._gap_in: set[int] = set()
        self._dirty: dict[str, SymbolState] = {}
        self._pending_records = 0
        self._flushed_at = 0.0
        self._watch: Watch = lambda snapshot: None
        self._tracer: Tracer = OFF

    def watch_with(self, watch: Watch) -> None:
        """`watch` hears each snapshot of the publishing grid, which event time alone decides."""
        self._watch = watch

    def trace_with(self, tracer: Tracer) -> None:
        """Process each batch in a span of the trace that its first record names."""
        self._tracer = tracer

    def use_horizon(self, horizon_s: float) -> None:
        """The horizon whose score stands at the top of `/latest`."""
        self._horizon_s = horizon_s
        self._horizons = tuple(sorted({*HORIZONS_S, horizon_s}))

    async def run(self) -> None:
        """Consume until the bus closes; what was processed is committed when this returns."""
        self._uncommitted.clear()
        self._committed.clear()
        self._dirty.clear()
        self._partition_state.forget()
        subscription = self._bus.subscribe(self._topics.topic, self._topics.group_id, self)
        self._subscription = subscription
        batches = subscription.batches()
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                parent = parent_of(batch[0].headers) if batch else None
                with self._tracer.span(f"process {self._topics.topic}", "consumer", parent=parent):
                    await self._process(batch)
                if not batch or self._flush_due():
                    await self.flush()

    # --- ticks ----------------------------------------------------------------------------

    async def _process(self, batch: Sequence[Record]) -> None:
        out, step = _Out(), _Step()
        self._mark_gaps()
        for record in batch:
            step.records += 1
            try:
                self._absorb(record, step)
            except (InvalidTickError, NotATickError) as error:
                self._bury(record, error, step)
            self._uncommitted[record.partition] = record.offset + 1
            if step.full:
                self._conclude(step, out)
                step = _Step()
                await asyncio.sleep(0)
        self._conclude(step, out)
        await asyncio.sleep(0)
        self._pending_records += len(batch)
        await self._publish(out)

    def _conclude(self, step: _Step, out: _Out) -> None:
        """Count a slice, and forecast at its moments and for the symbols that it touched."""
        self._count(step)
        out.dead += step.dead
        newest = [_Due(forecast_point(state), None) for state in step.touched.values()]
        self._tell([*step.due, *newest], out)

    async def _publish(self, out: _Out) -> None:
        if out.dead:
            await self._publish_surely(self._topics.dead_letter_topic, out.dead)
        if out.judged:
            # Before the state that has forgotten them: an outcome may come twice, but is not lost.
            await self._publish_surely(self._topics.outcomes_topic, out.judged)
        if out.features:
            await self._publish_surely(self._topics.features_topic, out.features)

    def _absorb(self, record: Record, step: _Step) -> None:
        """Take one record in; a redelivered one is inside the state already."""
        tick = decode_tick(record)
        state = self._table.state_for(tick.symbol, tick.time_ns)
        if record.offset <= state.offset and record.partition == state.partition:
            return
        gaps = state.order.gaps
        order = state.update(tick, record.timestamp_ms * 1_000_000)
        state.partition, state.offset = record.partition, record.offset
        self._dirty[state.symbol] = state
        if order is not TickStatus.NEW:
            self._refuse(order, tick, step)
            return
        step.touched[state.symbol] = state
        step.sources[tick.source] += 1
        if state.order.gaps > gaps:
            self._metrics.gaps.labels(tick.symbol).inc()
            news = {"symbol": tick.symbol, "at": format_time(tick.time_ns)}
            self._latest_store.tell("gap", tick.symbol, {**news, "gaps": state.order.gaps})
        step.due += [_Due(point, None) for point in minute_closes(state)]
        if state.take_due():
            step.due.append(_Due(forecast_point(state), state.dump(), on_grid=True))

    def _refuse(self, order: TickStatus, tick: Tick, step: _Step) -> None:
        """Count a tick that changes no feature; one of the future is a dead letter besides."""
        by_symbol = {
            TickStatus.DUPLICATE: self._metrics.duplicates,
            TickStatus.LATE: self._metrics.late,
            TickStatus.FUTURE: self._metrics.future,
        }
        by_symbol[order].labels(tick.symbol).inc()
        if order is TickStatus.FUTURE:
            shown = format_time(tick.time_ns)
            raise InvalidTickError("time", f"{shown} is after its publication", order.value)
        step.rejected[order.value] += 1

    def _bury(self, record: Record, error: InvalidTickError | NotATickError, step: _Step) -> None:
        reason = error.reason if isinstance(error, InvalidTickError) else "not_a_tick"
        step.rejected[reason] += 1
        step.dead.append(dead_letter(record, error))
        self._metrics.dead_letters.labels(reason).inc()
        log.debug("dead_letter", **record.place, reason=reason, error=str(error))

    def _count(self, step: _Step) -> None:
        for reason, count in step.rejected.items():
            self._metrics.rejected.labels(reason).inc(count)
        self._metrics.count_ticks(step.sources)
        for symbol, state in step.touched.items():
            if state.row is not None:
                self._metrics.last_event.labels(symbol).set(state.row.time_ns / NS)
        self._metrics.symbols.set(len(self._table))

    # --- forecasts ------------------------------------------------------------------------

    def _tell(self, points: Sequence[_Due], out: _Out) -> None:
        """Forecast at moments, put the newest on the board, and add what is to be published.

        One call of one model for all; then each symbol's moments in their order.
        """
        if not points:
            return
        rows = [item.point for item in points]
        started = time.perf_counter()
        model, forecasts = self._forecasts(rows)
        duration = time.perf_counter() - started
        self._metrics.time_inference(model.variant).observe(duration)
        shadow = self._holder.shadow
        scoring = Scoring(forecasts, shadow if shadow is not model else None, rows)
        now_ns = time.time_ns()
        for index, (point, state, on_grid) in enumerate(points):
            if isinstance(point, MinuteClose):
                scoring.learn(index)
                point.state.digest.close(point.ended.bar)
                continue
            snapshot = forecasts.snapshot(index, self._horizon_s)
            if state is None:
                self._latest_store.post(snapshot, now_ns / NS, point.state.offset)
                continue
            if on_grid:
                point.state.digest.say(snapshot)
                point.state.forecast_history.see(snapshot)
                self._watch(snapshot)
            stored = {**state, **point.state.dump_learnt()}
            out.features.append(encode_features(snapshot, stored, now_ns, self._bus.identity))
        out.judged += [encode_outcome(symbol, outcome) for symbol, outcome in scoring.outcomes]

    def _forecasts(self, points: Sequence[Point]) -> tuple[Model, SymbolForecasts]:
        """What serves says of moments, or the baseline where it fails."""
        return with_fallback(
            self._holder.current, lambda model: SymbolForecasts(model, points, self._horizons)
        )

    async def _publish_surely(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Publish until it is known to have arrived; a record that did twice says the same."""
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                return await self._bus.publish(topic, records)
            except BusUnavailableError:
                # The bus has told its owner that it is away, once.
                self._metrics.restarts.labels("consumer").inc()
                await asyncio.sleep(backoff.delay_s())

    # --- commits and assignment -----------------------------------------------------------

    def _flush_due(self) -> bool:
        return (
            self._pending_records >= COMMIT_RECORDS
            or time.monotonic() - self._flushed_at >= self._topics.commit_interval_s
        )

    async def flush(self) -> bool:
        """Publish the state of every symbol that changed, then commit what was processed.

        False when some of it is not ours any more.
        """
        dirty, self._dirty = self._dirty, {}
        out = _Out()
        states = [state for state in dirty.values() if state.row is not None]
        for start in range(0, len(states), SLICE_STATES):
            part = states[start : start + SLICE_STATES]
            self._tell([_Due(forecast_point(state), state.dump()) for state in part], out)
            await asyncio.sleep(0)
        await self._publish(out)
        ours = True
        if self._uncommitted and self._subscription is not None:
            ours = await self._subscription.commit(dict(self._uncommitted))
        if ours:
            self._committed |= self._uncommitted
        self._uncommitted.clear()
        self._pending_records = 0
        self._flushed_at = time.monotonic()
        return ours

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Flush, commit, and let go of the states of these partitions."""
        committed = self._committed if await self.flush() else {}
        self._partition_state.release(partitions, committed)
        self._committed = {}

    async def assigned(self, positions: Mapping[int, Position]) -> None:
        """Adopt the newest published state of every symbol in these partitions."""
        contested = await self._partition_state.take(positions)
        self._committed = {p: at.next for p, at in positions.items() if not at.fresh}
        for state in contested:
            self._write_again(state)

    def lost(self, partition: int, records: int) -> None:
        """The log's retention took ticks that were never read: a gap in every symbol there."""
        self._metrics.lost.inc(records)
        log.error("ticks_lost", partition=partition, records=records, reason="retention")
        self._gap_in.add(partition)

    def _mark_gaps(self) -> None:
        if self._gap_in:
            for state in self._table:
                if state.partition in self._gap_in:
                    state.order.gaps += 1
                    self._metrics.gaps.labels(state.symbol).inc()
                    self._dirty[state.symbol] = state
            self._gap_in.clear()

    def witness(self, seen: RecordHeader) -> None:
        """Another process has written a state; ours goes over it again if it is newer."""
        state = self._partition_state.contested(seen)
        if state is not None:
            self._write_again(state)

    def _write_again(self, state: SymbolState) -> None:
        self._metrics.rewrites.inc()
        self._dirty[state.symbol] = state
        self._flushed_at = 0.0
