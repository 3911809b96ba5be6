"""The consumer task: ticks from the bus become state, forecasts, and published features."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from volsvc.board import Board
from volsvc.config import KafkaSettings
from volsvc.domain import (
    NS,
    BusUnavailableError,
    InvalidTickError,
    NotATickError,
    format_time,
)
from volsvc.features import Order, StateError, SymbolState, SymbolTable
from volsvc.logs import get_logger
from volsvc.metrics import Metrics
from volsvc.models import HORIZONS_S, LiveForecasts, ModelHolder, Moment, moment_now, moments_ended
from volsvc.supervisor import Backoff
from volsvc.transport import Bus, OutRecord, Record, Subscription
from volsvc.transport.codec import dead_letter, decode_state, decode_tick, encode_features

COMMIT_INTERVAL_S = 1.0
COMMIT_RECORDS = 4_000

log = get_logger(__name__)


class _Due(NamedTuple):
    """A moment with the state to publish beside it, as it was after that moment's tick."""

    moment: Moment
    state: Mapping[str, Any] | None


@dataclass(slots=True)
class _Step:
    """What one batch of records came to: moments in their order, and the rest."""

    due: list[_Due] = field(default_factory=list)
    dead: list[OutRecord] = field(default_factory=list)
    touched: dict[str, SymbolState] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)


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
        board: Board,
        metrics: Metrics,
    ) -> None:
        self._bus = bus
        self._topics = topics
        self._table = table
        self._holder = holder
        self._board = board
        self._metrics = metrics
        self._horizons: tuple[float, ...] = HORIZONS_S
        self._horizon_s = HORIZONS_S[0]
        self._subscription: Subscription | None = None
        self._uncommitted: dict[int, int] = {}
        self._dirty: dict[str, SymbolState] = {}
        self._pending_records = 0
        self._flushed_at = 0.0

    def use_horizon(self, horizon_s: float) -> None:
        """The horizon whose score stands at the top of `/latest`."""
        self._horizon_s = horizon_s
        self._horizons = tuple(sorted({*HORIZONS_S, horizon_s}))

    async def run(self) -> None:
        """Consume until the bus closes; what was processed is committed when this returns."""
        self._uncommitted.clear()
        subscription = self._bus.subscribe(self._topics.topic, self._topics.group_id, self)
        self._subscription = subscription
        batches = subscription.batches()
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                await self._process(batch)
                if not batch or self._flush_due():
                    await self.flush()

    # --- ticks ----------------------------------------------------------------------------

    async def _process(self, batch: Sequence[Record]) -> None:
        step = _Step()
        for record in batch:
            try:
                self._absorb(record, step)
            except (InvalidTickError, NotATickError) as error:
                self._bury(record, error, step)
            self._uncommitted[record.partition] = record.offset + 1
        self._pending_records += len(batch)
        self._count(step)
        records = self._tell(step.due, step.touched.values())
        if step.dead:
            await self._publish_surely(self._topics.dead_letter_topic, step.dead)
        if records:
            await self._publish_surely(self._topics.features_topic, records)

    def _absorb(self, record: Record, step: _Step) -> None:
        """Take one record in; a redelivered one is inside the state already."""
        tick = decode_tick(record)
        state = self._table.state_for(tick.symbol, tick.time_ns)
        if record.offset <= state.offset and record.partition == state.partition:
            return
        gaps = state.order.gaps
        order = state.update(tick)
        state.partition, state.offset = record.partition, record.offset
        self._dirty[state.symbol] = state
        if order is not Order.NEW:
            step.rejected[order.value] += 1
            return
        step.touched[state.symbol] = state
        step.sources[tick.source] += 1
        if state.order.gaps > gaps:
            self._metrics.gaps.labels(tick.symbol).inc()
            news = {"symbol": tick.symbol, "at": format_time(tick.time_ns)}
            self._board.tell("gap", tick.symbol, {**news, "gaps": state.order.gaps})
        step.due += [_Due(moment, None) for moment in moments_ended(state)]
        if state.take_due():
            step.due.append(_Due(moment_now(state), state.dump()))

    def _bury(self, record: Record, error: InvalidTickError | NotATickError, step: _Step) -> None:
        reason = error.reason if isinstance(error, InvalidTickError) else "not_a_tick"
        step.rejected[reason] += 1
        step.dead.append(dead_letter(record, error))
        self._metrics.dead_letters.labels(reason).inc()
        log.debug(
            "dead_letter",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=reason,
            error=str(error),
        )

    def _count(self, step: _Step) -> None:
        for reason, count in step.rejected.items():
            self._metrics.rejected.labels(reason).inc(count)
        self._metrics.count_ticks(step.sources)
        for symbol, state in step.touched.items():
            if state.row is not None:
                self._metrics.last_event.labels(symbol).set(state.row.time_ns / NS)
        self._metrics.symbols.set(len(self._table))

    # --- forecasts ------------------------------------------------------------------------

    def _tell(self, due: Sequence[_Due], touched: Iterable[SymbolState]) -> list[OutRecord]:
        """Forecast at every moment, put the newest on the board, and return what is to publish.

        One call of one model for all; then each symbol's moments in their order.
        """
        newest = [_Due(moment_now(state), None) for state in touched]
        moments = [*due, *newest]
        if not moments:
            return []
        model = self._holder.current.model
        started = time.perf_counter()
        forecasts = LiveForecasts(model, [item.moment for item in moments], self._horizons)
        duration = time.perf_counter() - started
        self._metrics.inference_duration.labels(model.variant).observe(duration)
        now_ns = time.time_ns()
        records = []
        for index, (moment, state) in enumerate(moments):
            if moment.ended is not None:
                forecasts.learn(index)
                continue
            snapshot = forecasts.snapshot(index, self._horizon_s)
            if state is None:
                self._board.post(snapshot, now_ns / NS)
            else:
                stored = {**state, "calibration": moment.state.dump_calibration()}
                records.append(encode_features(snapshot, stored, now_ns))
        return records

    async def _publish_surely(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Publish until it is known to have arrived; a record that did twice says the same."""
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                return await self._bus.publish(topic, records)
            except BusUnavailableError as error:
                self._metrics.restarts.labels("consumer").inc()
                log.warning("publish_retry", topic=topic, records=len(records), error=str(error))
                await asyncio.sleep(backoff.delay_s())

    # --- commits and assignment -----------------------------------------------------------

    def _flush_due(self) -> bool:
        return (
            self._pending_records >= COMMIT_RECORDS
            or time.monotonic() - self._flushed_at >= COMMIT_INTERVAL_S
        )

    async def flush(self) -> None:
        """Publish the state of every symbol that changed, then commit what was processed."""
        due = [
            _Due(moment_now(state), state.dump())
            for state in self._dirty.values()
            if state.row is not None
        ]
        if due:
            await self._publish_surely(self._topics.features_topic, self._tell(due, ()))
        if self._uncommitted and self._subscription is not None:
            await self._subscription.commit(dict(self._uncommitted))
        self._dirty.clear()
        self._uncommitted.clear()
        self._pending_records = 0
        self._flushed_at = time.monotonic()

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Flush, commit, and forget the states that another instance owns from now on."""
        await self.flush()
        for state in list(self._table):
            if state.partition in partitions:
                self._table.drop(state.symbol)

    async def assigned(self, partitions: Sequence[int]) -> None:
        """Adopt the newest published state of every symbol in these partitions."""
        restored = 0
        source = self._bus.read_all(self._topics.features_topic, partitions)
        async with aclosing(source):  # type: ignore[type-var]
            async for batch in source:
                restored += sum(self._restore(record) for record in batch)
        if restored:
            log.info("state_restored", partitions=sorted(partitions), symbols=len(self._table))

    def _restore(self, record: Record) -> bool:
        try:
            stored = decode_state(record)
            if stored is None:
                return False
            self._table.restore(stored.symbol, stored.state, stored.time_ns)
        except (InvalidTickError, StateError, KeyError, TypeError, ValueError) as error:
            log.warning(
                "state_not_restored",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                error=str(error),
            )
            return False
        state = self._table.get(stored.symbol)
        if state.row is not None:
            model = self._holder.current.model
            forecasts = LiveForecasts(model, [moment_now(state)], self._horizons)
            self._board.post(forecasts.snapshot(0, self._horizon_s), stored.processed_ns / NS)
        return True
