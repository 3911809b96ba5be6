"""Records of the ticks topic applied to the states of their symbols, in slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from volsvc.domain import NS, InvalidTickError, NotATickError, Tick, format_time
from volsvc.features import BAD_PRINT, MAX_WAITING, SymbolState, SymbolTable, TickStatus
from volsvc.models import forecast_point, minute_closes
from volsvc.pipeline.forecaster import DuePoint
from volsvc.pipeline.latest_store import LatestStore
from volsvc.telemetry.limited_warnings import LimitedWarnings
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord, Record
from volsvc.transport.codec import dead_letter, decode_tick

# Bounds of a slice, some milliseconds of work; then requests have their turn. A published state
# costs most, a forecast for a symbol less, and a record that only changes a state least.
SLICE_POINTS = 8
SLICE_SYMBOLS = 40
SLICE_RECORDS = 128

log = get_logger(__name__)


@dataclass(slots=True)
class TickSlice:
    """The result of applying a few records: points to forecast in their order, and counts.

    `faults` has the newest error by reason.
    """

    records: int = 0
    due: list[DuePoint] = field(default_factory=list)
    dead_letters: list[OutRecord] = field(default_factory=list)
    updated: dict[str, SymbolState] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    accepted: Counter[str] = field(default_factory=Counter)
    next_offsets: dict[int, int] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """True if the slice is as much work as may be done without a pause."""
        return (
            len(self.due) >= SLICE_POINTS
            or len(self.updated) >= SLICE_SYMBOLS
            or self.records >= SLICE_RECORDS
        )


class TickApplier:
    """Applies ticks to symbol states, and remembers the states to publish before a commit."""

    def __init__(self, table: SymbolTable, latest_store: LatestStore, metrics: Metrics) -> None:
        """`latest_store` is notified of gaps."""
        self._table = table
        self._latest_store = latest_store
        self._metrics = metrics.ticks
        self._dead_letters = metrics.kafka.dead_letters
        self._dirty: dict[str, SymbolState] = {}
        self._lossy_partitions: set[int] = set()
        self._warnings = LimitedWarnings(log, "ticks_applied_early")

    def slices(self, records: Sequence[Record]) -> Iterator[TickSlice]:
        """Apply records, and yield the slices of the result, the last one perhaps empty.

        A slice has to be forecast before the next one is requested, because its points refer to
        the states, which go on changing.
        """
        self._count_losses()
        tick_slice = TickSlice()
        for record in records:
            tick_slice.records += 1
            state = None
            try:
                state = self._add(record, tick_slice)
            except (InvalidTickError, NotATickError) as error:
                self._dead_letter(record, error, tick_slice)
            tick_slice.next_offsets[record.partition] = record.offset + 1
            # One record may apply many ticks. Between two of them the state holds the rest, so
            # that a slice may end there.
            while state is not None and state.waiting:
                self._advance(state, tick_slice)
                if tick_slice.full:
                    self._count(tick_slice)
                    yield tick_slice
                    tick_slice = TickSlice()
            if tick_slice.full:
                self._count(tick_slice)
                yield tick_slice
                tick_slice = TickSlice()
        self._count(tick_slice)
        yield tick_slice

    def _add(self, record: Record, tick_slice: TickSlice) -> SymbolState:
        """Add the tick of a record to the state of its symbol, and return that."""
        tick = decode_tick(record)
        state = self._table.state_for(tick.symbol, tick.time_ns)
        if record.offset <= state.offset and record.partition == state.partition:
            # Redelivered after a restart or a rebalance: the restored state holds it already,
            # though perhaps not yet applied.
            return state
        gaps, order = state.validator.gaps, state.order
        early = 0 if order is None else order.early
        status = state.add(tick, record.timestamp_ms * 1_000_000)
        state.partition, state.offset = record.partition, record.offset
        self._dirty[state.symbol] = state
        if order is not None and order.early > early:
            more = order.early - early
            self._warnings.add("too_many_wait", more, symbol=tick.symbol, limit=MAX_WAITING)
        if state.validator.gaps > gaps:
            self._metrics.gaps.labels(tick.symbol).inc(state.validator.gaps - gaps)
            news = {"symbol": tick.symbol, "at": format_time(state.validator.gap_ns)}
            self._latest_store.notify("gap", tick.symbol, {**news, "gaps": state.validator.gaps})
        if status is not TickStatus.NEW:
            self._reject(status, tick, tick_slice)
        return state

    def _advance(self, state: SymbolState, tick_slice: TickSlice) -> None:
        """Apply the next tick of a symbol, unless its price has to wait for another one."""
        dropped = state.prints.dropped
        tick = state.advance()
        if state.prints.dropped > dropped:
            more = state.prints.dropped - dropped
            self._metrics.bad_prints.labels(state.symbol).inc(more)
            tick_slice.rejected[BAD_PRINT] += more
        if tick is None:
            return
        self._dirty[state.symbol] = state
        tick_slice.updated[state.symbol] = state
        tick_slice.accepted[tick.source] += 1
        tick_slice.due += [DuePoint(point, None) for point in minute_closes(state)]
        if state.take_due():
            # Dumped now, because the state belongs to this tick and later ones of the slice move
            # it on before the forecast is made.
            tick_slice.due.append(DuePoint(forecast_point(state), state.dump(), on_grid=True))

    def _reject(self, status: TickStatus, tick: Tick, tick_slice: TickSlice) -> None:
        """Count a tick that changes no feature; raises InvalidTickError for one of the future."""
        by_symbol = {
            TickStatus.DUPLICATE: self._metrics.duplicates,
            TickStatus.LATE: self._metrics.late,
            TickStatus.FUTURE: self._metrics.future,
        }
        by_symbol[status].labels(tick.symbol).inc()
        if status is TickStatus.FUTURE:
            # A wrong clock is a fault of the tick's producer, so it is kept as evidence as well.
            shown = format_time(tick.time_ns)
            raise InvalidTickError("time", f"{shown} is after its publication", status.value)
        tick_slice.rejected[status.value] += 1

    def _dead_letter(
        self, record: Record, error: InvalidTickError | NotATickError, tick_slice: TickSlice
    ) -> None:
        reason = error.reason if isinstance(error, InvalidTickError) else "not_a_tick"
        tick_slice.rejected[reason] += 1
        tick_slice.faults[reason] = str(error)
        tick_slice.dead_letters.append(dead_letter(record, error))
        self._dead_letters.labels(reason).inc()
        log.debug("dead_letter", **record.place, reason=reason, error=str(error))

    def _count(self, tick_slice: TickSlice) -> None:
        # Once a slice and not once a tick: labelled metrics cost a lookup and a lock each.
        for reason, count in tick_slice.rejected.items():
            self._metrics.rejected.labels(reason).inc(count)
        self._metrics.count_processed(tick_slice.accepted)
        for symbol, state in tick_slice.updated.items():
            if state.row is not None:
                self._metrics.last_event.labels(symbol).set(state.row.time_ns / NS)
        self._metrics.symbols.set(len(self._table))

    # --- states to publish ----------------------------------------------------------------

    def mark_dirty(self, state: SymbolState) -> None:
        """Have a state published at the next flush."""
        self._dirty[state.symbol] = state

    def take_dirty(self) -> dict[str, SymbolState]:
        """Return the states that changed since the last call, by symbol."""
        dirty, self._dirty = self._dirty, {}
        return dirty

    def note_loss(self, partition: int) -> None:
        """Count a gap in every symbol of a partition, before the next records are applied."""
        # Not at once: a loss is found out while a partition is being assigned, and its states are
        # restored only after that.
        self._lossy_partitions.add(partition)

    def _count_losses(self) -> None:
        if not self._lossy_partitions:
            return
        for state in self._table:
            if state.partition in self._lossy_partitions:
                state.validator.gaps += 1
                self._metrics.gaps.labels(state.symbol).inc()
                self._dirty[state.symbol] = state
        self._lossy_partitions.clear()
