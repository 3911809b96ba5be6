"""Records of the ticks topic applied to the states of their symbols, in slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import InvalidTickError, NotATickError, Tick, format_time
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.domain.times import LATEST_NS
from volsvc.features import BAD_PRINT, MAX_WAITING, SLICE_TICKS, Applied, Buffers, SymbolTable
from volsvc.features.bars import apply_past
from volsvc.features.kernels.apply import TICK
from volsvc.features.kernels.tick_check import FUTURE, NEW
from volsvc.features.recordings import STATUSES
from volsvc.features.tick_batch import tick_batch
from volsvc.pipeline.latest_store import LatestStore
from volsvc.telemetry.feed_metrics import SOURCES
from volsvc.telemetry.limited_warnings import LimitedWarnings
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord, Record
from volsvc.transport.bars_record import decode_bars, has_bars
from volsvc.transport.codec import dead_letter, decode_tick
from volsvc.transport.kernels.plain_ticks import NOT_PLAIN
from volsvc.transport.name_index import NameIndex
from volsvc.transport.plain_ticks import Texts, read_plain

# Bounds of a slice, some milliseconds of work; then requests have their turn. A published state
# costs most, a record that only changes a state least.
SLICE_POINTS: Final = 32
SLICE_RECORDS: Final = 256

# Nanoseconds in a millisecond.
MS: Final = 1_000_000

_SOURCE_NAMES: Final = (*sorted(SOURCES), "other")
_SOURCE_NUMBERS: Final = {name: number for number, name in enumerate(_SOURCE_NAMES[:-1])}

assert SLICE_RECORDS <= SLICE_TICKS

log = get_logger(__name__)


@dataclass(slots=True)
class TickSlice:
    """The result of applying a few records: what to forecast in its order, and counts.

    `applied` is None if none of the records was a tick, and `past` are the points of a record of
    bars, which is a slice by itself. `updated` are the rows of symbols of which
    a tick was applied. `faults` has the newest error by reason.
    """

    applied: Applied | None = None
    past: Any = None
    dead_letters: list[OutRecord] = field(default_factory=list)
    updated: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    rejected: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    accepted: Counter[str] = field(default_factory=Counter)
    next_offsets: dict[int, int] = field(default_factory=dict)


class TickApplier:
    """Applies ticks to symbol states, and remembers the states to publish before a commit."""

    def __init__(self, table: SymbolTable, latest_store: LatestStore, metrics: Metrics) -> None:
        """`latest_store` is notified of gaps."""
        self._table = table
        self._latest_store = latest_store
        self._metrics = metrics.ticks
        self._dead_letters = metrics.kafka.dead_letters
        self._sources = NameIndex(_SOURCE_NUMBERS)
        self._symbols = NameIndex({})
        self._removals = table.removals
        self._buffers = Buffers(SLICE_POINTS, copies=True)
        self._dirty: set[str] = set()
        self._lossy_partitions: set[int] = set()
        self._warnings = LimitedWarnings(log, "ticks_applied_early")

    def slices(self, records: Sequence[Record]) -> Iterator[TickSlice]:
        """Apply records, and yield the slices of the result, the last one perhaps empty.

        A slice has to be forecast before the next one is requested, because its points refer to
        the states, which go on changing.
        """
        self._count_losses()
        position = 0
        while True:
            tick_slice = TickSlice()
            if position < len(records) and has_bars(records[position]):
                self._apply_bars(records[position], tick_slice)
                yield tick_slice
                position += 1
                continue
            position, taken, batch = self._decoded(records, position, tick_slice)
            done = 0
            while True:
                # One record may apply many ticks. Between two of them the state holds the rest, so
                # that a slice may end there.
                if len(batch) or self._table.unfinished:
                    tick_slice.applied = self._table.apply(batch, done, self._buffers)
                    done = tick_slice.applied.next
                    self._note(tick_slice, tick_slice.applied, taken, batch)
                self._count(tick_slice)
                yield tick_slice
                if done == len(batch) and not self._table.unfinished:
                    break
                tick_slice = TickSlice()
            if position == len(records):
                return

    def _apply_bars(self, record: Record, tick_slice: TickSlice) -> None:
        tick_slice.next_offsets = {record.partition: record.offset + 1}
        try:
            past = decode_bars(record)
            tick_slice.past = apply_past(self._table, past, record.partition, record.offset)
            self._dirty.add(past.symbol)
        except InvalidTickError as error:
            self._dead_letter(record, error, tick_slice)
        self._count(tick_slice)

    def _decoded(
        self, records: Sequence[Record], position: int, tick_slice: TickSlice
    ) -> tuple[int, Sequence[Record], Any]:
        """Decode records from `position` on as far as a slice reaches.

        Returns the position after them, those with a tick that no state holds yet, and these ticks
        as a batch.
        """
        part = records[position : position + SLICE_RECORDS]
        batch = np.zeros(len(part), TICK)
        if not part:
            return position, [], batch
        _, partitions, offsets, keys, values, _, stamps_ms = zip(*part, strict=True)
        self._read_plain(values, keys, batch)
        end = self._decode_others(part, batch, tick_slice)
        batch["partition"], batch["offset"] = partitions, offsets
        # A stamp in another unit may be too large in ns; from the latest time on all are alike.
        stamps = np.fromiter(stamps_ms, np.int64, len(part))
        batch["published_ns"] = np.minimum(np.maximum(stamps, 0), LATEST_NS // MS) * MS
        newest = dict(zip(partitions[:end], offsets[:end], strict=True))
        tick_slice.next_offsets = {partition: at + 1 for partition, at in newest.items()}
        taken = np.flatnonzero(batch["symbol"][:end] != NOT_PLAIN)
        # Redelivered after a restart or a rebalance: the restored state holds it already, though
        # perhaps not yet applied.
        held_partitions, held_offsets = self._table.places(batch["symbol"][taken])
        held = batch["offset"][taken] <= held_offsets
        taken = taken[~(held & (batch["partition"][taken] == held_partitions))]
        # Records are copied slowly.
        if len(taken) < len(part):
            part, batch = [part[index] for index in taken.tolist()], batch[taken]
        return position + end, part, batch

    def _decode_others(
        self, part: Sequence[Record], batch: NDArray[Any], tick_slice: TickSlice
    ) -> int:
        """Decode the records that are not plain; return the number of records in the slice."""
        places: list[int] = []
        ticks: list[Tick] = []
        rows: list[int] = []
        end = len(part)
        for place in _not_plain(batch):
            if has_bars(part[place]):
                end = place
                break
            try:
                tick = decode_tick(part[place])
                evicts = self._table.full and tick.symbol not in self._table
                # A new symbol may take the room of one whose ticks are still to be applied.
                if evicts and (ticks or (batch["symbol"][:place] != NOT_PLAIN).any()):
                    end = place
                    break
                row = self._table.row_for(tick.symbol, tick.time_ns)
            except (InvalidTickError, NotATickError) as error:
                self._dead_letter(part[place], error, tick_slice)
                continue
            places.append(place)
            ticks.append(tick)
            rows.append(row)
            if tick.symbol not in self._symbols.numbers:
                self._symbols.add(tick.symbol, row)
            if evicts:
                # Later records may have been read as of symbols that are gone now.
                later = part[place + 1 :]
                values, keys = [one.value for one in later], [one.key for one in later]
                self._read_plain(values, keys, batch[place + 1 :])
        if ticks:
            batch[places] = tick_batch(columns_of_ticks(ticks), rows, _SOURCE_NUMBERS)
        return end

    def _read_plain(self, values: Texts, keys: Texts, batch: NDArray[Any]) -> None:
        """Read the plain ticks of the symbols of which one was decoded before."""
        if self._removals != self._table.removals:
            self._removals = self._table.removals
            rows = self._symbols.numbers.items()
            known = {name: row for name, row in rows if self._table.known_row(name) == row}
            self._symbols = NameIndex(known)
        read_plain(values, keys, self._symbols, self._sources, batch)

    def _note(
        self, tick_slice: TickSlice, applied: Applied, taken: Sequence[Record], batch: NDArray[Any]
    ) -> None:
        """Count what became of ticks, and remember the states that have changed."""
        results = applied.results
        self._dirty.update(map(self._table.symbol, np.unique(results["symbol"]).tolist()))
        # A tick that was checked before shows no gap, and its status is below NEW.
        for result in results[results["gaps"] > 0]:
            self._note_gap(result)
        for result in results[results["status"] > NEW]:
            tick = int(result.tick)
            self._reject(int(result.status), taken[tick], batch[tick], tick_slice)
        for result in results[results["dropped"] > 0]:
            symbol, dropped = self._table.symbol(int(result.symbol)), int(result.dropped)
            self._metrics.bad_prints.labels(symbol).inc(dropped)
            tick_slice.rejected[BAD_PRINT] += dropped
        sources = results["applied"][results["applied"] >= 0]
        counts = np.bincount(sources, minlength=len(_SOURCE_NAMES)).tolist()
        tick_slice.accepted = Counter(
            {name: count for name, count in zip(_SOURCE_NAMES, counts, strict=True) if count}
        )
        tick_slice.updated = np.unique(results["symbol"][(results["applied"] >= 0).any(axis=1)])
        for row, early in self._table.take_early():
            symbol = self._table.symbol(row)
            self._warnings.add("too_many_wait", early, symbol=symbol, limit=MAX_WAITING)

    def _note_gap(self, result: Any) -> None:
        symbol, gaps = self._table.symbol(int(result.symbol)), int(result.all_gaps)
        self._metrics.gaps.labels(symbol).inc(int(result.gaps))
        news = {"symbol": symbol, "at": format_time(int(result.gap_ns))}
        self._latest_store.notify("gap", symbol, {**news, "gaps": gaps})

    def _reject(self, status: int, record: Record, tick: Any, tick_slice: TickSlice) -> None:
        """Count a tick that changes no feature; one of the future is dead-lettered."""
        reason = STATUSES[status]
        by_symbol = {
            "duplicate": self._metrics.duplicates,
            "late": self._metrics.late,
            "future": self._metrics.future,
        }
        by_symbol[reason].labels(self._table.symbol(int(tick.symbol))).inc()
        if status != FUTURE:
            tick_slice.rejected[reason] += 1
            return
        # A wrong clock is a fault of the tick's producer, so it is kept as evidence as well.
        detail = f"{format_time(int(tick.time_ns))} is after its publication"
        self._dead_letter(record, InvalidTickError("time", detail, reason), tick_slice)

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
        self._metrics.symbols.set(len(self._table))

    # --- states to publish ----------------------------------------------------------------

    def mark_dirty(self, symbol: str) -> None:
        """Have a state published at the next flush."""
        self._dirty.add(symbol)

    def mark_clean(self, symbols: Iterable[str]) -> None:
        """Have states not published at the next flush, since their newest ones are already."""
        self._dirty.difference_update(symbols)

    def take_dirty(self) -> set[str]:
        """Return the symbols whose states changed since the last call."""
        dirty, self._dirty = self._dirty, set()
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
                state.record.ticks.check.gaps += 1
                self._metrics.gaps.labels(state.symbol).inc()
                self._dirty.add(state.symbol)
        self._lossy_partitions.clear()


def _not_plain(batch: NDArray[Any]) -> Iterator[int]:
    """Return the places of the records that are not plain by the time they are reached."""
    symbols = batch["symbol"]
    others = np.flatnonzero(symbols == NOT_PLAIN)
    first = int(others[0]) if len(others) else len(batch)
    return (place for place in range(first, len(batch)) if symbols[place] == NOT_PLAIN)
