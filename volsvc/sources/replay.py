"""Sources that replay ticks of a recording or of the generator."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np

from volsvc.config.settings import ReplaySettings
from volsvc.domain import NS, InvalidTickError, SourceError, SourceRow, Tick
from volsvc.domain.minute_bars import PastBars
from volsvc.domain.tick_columns import Integers, TickColumns
from volsvc.sources.base import (
    BATCH_ROWS,
    Known,
    PastOf,
    Skip,
    SourceEvents,
    no_past,
    nothing_known,
)
from volsvc.sources.generated_past import past_bars
from volsvc.sources.generator import Generator, GeneratorSpec, MarketStart
from volsvc.sources.pacing import paced
from volsvc.sources.recordings.bars import MINUTE_NS
from volsvc.sources.recordings.lateness import Late, Lateness
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.summary import ReadCounts, summary_line
from volsvc.sources.recordings.tables.table import Table
from volsvc.sources.recordings.tick_rows import TickRows
from volsvc.telemetry.logs import get_logger

# Added to trade ids at each lap of a loop, so that they stay unique and rising.
LOOP_ID_STEP = 10**12
# Time after which a piece of reading ends even if it has come to no tick: a stop waits for it.
PIECE_S = 0.05

log = get_logger(__name__)

# Rows of a source; None is a step that has come to no tick.
Rows = Iterator[SourceRow | None]


class FileSource:
    """A recording, replayed once or in a loop.

    `symbols` selects symbols, all if empty. The first event time is shifted to `start_ns`; None
    keeps event times. The first tick of a symbol comes with the bars of `past_of`. A pipe is read
    once, however often `batches` is called: the next call goes on after the last batch that was
    taken. Reading raises SourceError at the end of a file without a selected tick.
    """

    def __init__(
        self,
        recording: Recording,
        replay: ReplaySettings,
        events: SourceEvents,
        *,
        symbols: frozenset[str] = frozenset(),
        loop: bool = False,
        start_ns: int | None = None,
        past_of: PastOf = no_past,
    ) -> None:
        self._past_of = past_of
        self._recording = recording
        self._replay = replay
        self._events = events
        self._symbols = symbols
        self._loop = loop
        self._start_ns = start_ns
        # Positions count the selected ticks alone, so that each selection is a stream of its own.
        selection = "".join(f"+{symbol}" for symbol in sorted(symbols))
        # With shifted times each run is a stream of its own, which must not be resumed.
        shift = "" if start_ns is None else f"@{start_ns}"
        self.identity = recording.identity + selection + shift
        # Of a pipe a later run may go on where this one ends, for all that anybody knows.
        self.feed = self.label + selection if recording.is_pipe else self.identity
        # A pipe may stay empty for long.
        self.prompt = 0 if recording.is_pipe else 1
        # What the first reading came to, once it has ended.
        self.counts = ReadCounts()
        self._pipe = _Kept(self._shifted_rows()) if recording.is_pipe else None

    @property
    def label(self) -> str:
        """The recording's name for a reader."""
        return self._recording.label

    @property
    def tables(self) -> Sequence[Table]:
        """The files of the recording."""
        return self._recording.tables

    @property
    def fraction(self) -> float:
        """The share of the recording that has been read, from 0 to 1."""
        return self._recording.fraction

    async def batches(self, skip: Skip) -> AsyncIterator[Sequence[SourceRow]]:
        """Yield the recording's ticks, each when it is due."""
        rows = self._pipe.rows() if self._pipe else self._shifted_rows()
        batches = _batches_in_thread(rows, skip)
        async for batch in paced(batches, self._replay.speed, self._events.late):
            yield batch
            if self._pipe:
                self._pipe.forget(batch[-1].position)
        log.info("recording_read", file=self.label, summary=summary_line(self.counts))

    def columns(self) -> Iterator[TickColumns]:
        """Yield the recording's ticks once, in parts, without waiting for their times."""
        return (ticks for ticks in self._parts(report=True) if ticks is not None)

    def ticks(self) -> Iterator[Tick]:
        """Return the recording's ticks without waiting for their times."""
        return (row.tick for row in self._rows() if row is not None)

    def _shifted_rows(self) -> Rows:
        return shifted(with_past(self._rows(), self._past_of), self._start_ns)

    def _rows(self) -> Rows:
        position, lap, offset_ns = 0, 0, 0
        first, last = 0, 0
        while True:
            start = position
            for part in self._parts(report=lap == 0):
                if part is None:
                    yield None
                    continue
                first = int(part.time_ns[0]) if position == start else first
                last = max(last, int(part.time_ns.max()))
                for tick in part.ticks():
                    yield SourceRow(position, _repeated(tick, offset_ns, lap) if lap else tick)
                    position += 1
            if not self._loop or position == start:
                return
            lap += 1
            # A second after the last tick, so that event times keep rising.
            offset_ns = lap * (last - first + NS)

    def _parts(self, *, report: bool) -> Iterator[TickColumns | None]:
        """Yield the valid and selected ticks; None for a step that has come to none."""
        counts, lateness = ReadCounts(), Lateness()
        for rows in self._recording.rows():
            counts.messages += rows.others
            places = self._selected(rows, counts)
            ticks = rows.ticks if len(places) == len(rows) else rows.ticks.take(places)
            counts.valid(ticks)
            # Published all the same: the symbol's state decides, and counts them as late.
            late = lateness.late(ticks, rows.lines[places])
            counts.late += len(late.indices)
            counts.taken += len(ticks) - len(late.indices)
            self._report(rows, places, late, counts)
            if len(ticks):
                yield ticks
            # A step that has come to no tick, too.
            yield None
        if report:
            self.counts = counts
            self._events.ended(self._recording.label, counts.refused)
            if counts.first_ns is None:
                selection = ",".join(sorted(self._symbols))
                of = f" of source.symbols = {selection}" if selection else ""
                raise SourceError(f"{self.label}: holds no tick{of}")

    def _selected(self, rows: TickRows, counts: ReadCounts) -> Integers:
        """Return the rows that have a tick of a selected symbol, and count the others."""
        chosen = rows.are_ticks
        if self._symbols:
            are_selected = np.array(
                [name in self._symbols for name in rows.ticks.symbols], np.bool_
            )
            others = chosen & ~are_selected[rows.ticks.symbol]
            counts.left_out += int(np.count_nonzero(others))
            chosen &= ~others
        return np.flatnonzero(chosen)

    def _report(self, rows: TickRows, places: Integers, late: Late, counts: ReadCounts) -> None:
        """Count and report rows that are late or no ticks, in their order."""
        late_rows = places[late.indices].tolist()
        behind = dict(
            zip(
                late_rows,
                zip(late.behind_ns.tolist(), late.lines.tolist(), strict=True),
                strict=True,
            )
        )
        for row in sorted(rows.faults.keys() | behind.keys()):
            file, line = rows.place(row)
            if row in rows.faults:
                error = rows.fault(row)
                counts.refuse(file, line, error)
                self._events.rejected(file, line, error)
                continue
            behind_ns, newest_line = behind[row]
            counts.behind(file, newest_line)
            symbol = rows.ticks.symbols[int(rows.ticks.symbol[row])]
            detail = f"is {behind_ns / NS:g} s behind line {newest_line} for {symbol}"
            self._events.out_of_order(file, line, InvalidTickError("time", detail, "late"))


class _Kept:
    """The rows of a pipe, which cannot be read again: those that nobody has used yet are kept."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._unused: deque[SourceRow] = deque()

    def rows(self) -> Rows:
        """Yield the rows that are kept, and those that follow."""
        yield from tuple(self._unused)
        for row in self._rows:
            if row is not None:
                self._unused.append(row)
            yield row

    def forget(self, position: int) -> None:
        """Drop the rows up to a position, which have been used."""
        while self._unused and self._unused[0].position <= position:
            self._unused.popleft()


class GeneratorSource:
    """The seeded generator as an endless source, from the time of its construction on.

    Prices and trade ids go on where an earlier run has left them.
    """

    def __init__(
        self,
        symbols: tuple[str, ...],
        seed: int,
        replay: ReplaySettings,
        events: SourceEvents,
        now_ns: Callable[[], int],
        known: Known = nothing_known,
        past_days: int = 0,
    ) -> None:
        """A symbol of which nothing is `known` has bars of `past_days` before its first tick."""
        self._past_days = past_days
        self._spec = GeneratorSpec(symbols=symbols, seed=seed, start_ns=now_ns())
        self._known = known
        self._replay = replay
        self._events = events
        # With its start in the name each run is a stream of its own, which must not be resumed.
        self.identity = f"generator-{seed}@{self._spec.start_ns}"
        self.feed = f"generator-{seed}"
        self.prompt = len(symbols)

    def batches(self, skip: Skip) -> AsyncIterator[Sequence[SourceRow]]:
        """Yield generated ticks, each when it is due."""
        ticks = Generator(self._spec, starts=self._starts()).ticks()
        rows = (SourceRow(i, generated.tick) for i, generated in enumerate(ticks))
        with_bars = with_past(rows, self._past)
        return paced(_batches_in_thread(with_bars, skip), self._replay.speed, self._events.late)

    def _past(self, symbol: str, time_ns: int) -> PastBars | None:
        if self._past_days == 0 or self._known(symbol) is not None:
            return None
        return PastBars(symbol, "generator", past_bars(symbol, self._spec, self._past_days))

    def _starts(self) -> Mapping[str, MarketStart]:
        known = {symbol: self._known(symbol) for symbol in self._spec.symbols}
        # One id is left out, so that the time in which nothing was generated shows as a gap.
        return {
            symbol: MarketStart(tick.price, (tick.trade_id or 0) + 1)
            for symbol, tick in known.items()
            if tick is not None
        }


def with_past(rows: Rows, past_of: PastOf) -> Rows:
    """Yield rows, the first one of each symbol with the bars before it."""
    seen = set()
    for row in rows:
        if row is not None and row.tick.symbol not in seen:
            seen.add(row.tick.symbol)
            yield row._replace(past=past_of(row.tick.symbol, row.tick.time_ns))
        else:
            yield row


def shifted(rows: Rows, start_ns: int | None) -> Rows:
    """Yield rows with event times shifted so that the first is `start_ns`; unchanged for None."""
    shift: int | None = None
    for row in rows:
        if start_ns is None or row is None:
            yield row
            continue
        shift = start_ns - row.tick.time_ns if shift is None else shift
        moved = msgspec.structs.replace(row.tick, time_ns=row.tick.time_ns + shift)
        past = row.past
        if past is not None:
            # By whole minutes, so that they still end where the tick's minute begins.
            by = moved.time_ns // MINUTE_NS - row.tick.time_ns // MINUTE_NS
            past = past._replace(bars=past.bars._replace(minutes=past.bars.minutes + by))
        yield SourceRow(row.position, moved, past=past)


def _repeated(tick: Tick, offset_ns: int, lap: int) -> Tick:
    trade_id = None if tick.trade_id is None else tick.trade_id + lap * LOOP_ID_STEP
    return msgspec.structs.replace(tick, time_ns=tick.time_ns + offset_ns, trade_id=trade_id)


async def _batches_in_thread(rows: Rows, skip: Skip) -> AsyncIterator[Sequence[SourceRow]]:
    """Yield rows in batches, without those to be skipped; they are read in a thread, in pieces."""
    steps = (None if row is None or skip(row) else row for row in rows)
    more = True
    while more:
        # A slow disk must not block the event loop.
        piece = asyncio.ensure_future(asyncio.to_thread(_take, steps))
        try:
            batch, more = await asyncio.shield(piece)
        except asyncio.CancelledError:
            # A thread cannot be cancelled, and whoever reads on must not meet it.
            await asyncio.wait({piece})
            raise
        if batch:
            yield batch


def _take(rows: Rows) -> tuple[list[SourceRow], bool]:
    """Return the next rows, and whether others may follow."""
    batch: list[SourceRow] = []
    deadline = time.monotonic() + PIECE_S
    for row in rows:
        if row is not None:
            batch.append(row)
            if len(batch) == BATCH_ROWS:
                return batch, True
        elif time.monotonic() > deadline:
            return batch, True
    return batch, False
