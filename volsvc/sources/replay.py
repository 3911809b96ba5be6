"""Sources that replay ticks of a recording or of the generator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import msgspec

from volsvc.config.settings import ReplaySettings
from volsvc.domain import NS, InvalidTickError, NotATickError, SourceRow, Tick
from volsvc.sources.base import BATCH_ROWS, Skip, SourceEvents
from volsvc.sources.files import Recording
from volsvc.sources.generator import Generator, GeneratorSpec
from volsvc.sources.pacing import paced

T = TypeVar("T")

# Added to trade ids at each lap of a loop, so that they stay unique and rising.
LOOP_ID_STEP = 10**12


class FileSource:
    """A recording, replayed once or in a loop.

    `symbols` selects symbols, all if empty. The first event time is shifted to `start_ns`; None
    keeps event times.
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
    ) -> None:
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

    @property
    def fraction(self) -> float:
        """The share of the recording that has been read, from 0 to 1."""
        return self._recording.fraction

    def batches(self, skip: Skip) -> AsyncIterator[Sequence[SourceRow]]:
        """Yield the recording's ticks, each when it is due."""
        rows = (row for row in shifted(self._rows(), self._start_ns) if not skip(row))
        return paced(_batches_in_thread(rows), self._replay.speed, self._events.late)

    def ticks(self) -> Iterator[Tick]:
        """Return the recording's ticks without waiting for their times."""
        return (row.tick for row in self._rows())

    def _rows(self) -> Iterator[SourceRow]:
        position, lap, offset_ns = 0, 0, 0
        first, last = 0, 0
        while True:
            start = position
            for tick in self._valid_ticks():
                first = tick.time_ns if position == start else first
                last = max(last, tick.time_ns)
                yield SourceRow(position, _repeated(tick, offset_ns, lap) if lap else tick)
                position += 1
            if not self._loop or position == start:
                return
            lap += 1
            # A second after the last tick, so that event times keep rising.
            offset_ns = lap * (last - first + NS)

    def _valid_ticks(self) -> Iterator[Tick]:
        newest: dict[str, int] = {}
        path = str(self._recording.path)
        for line, tick in self._recording.rows():
            # A feed may contain subscription receipts and heartbeats; a recording should not.
            if isinstance(tick, NotATickError):
                tick = InvalidTickError("type", str(tick), "not_a_tick")
            if isinstance(tick, InvalidTickError):
                self._events.rejected(path, line, tick)
                continue
            if self._symbols and tick.symbol not in self._symbols:
                continue
            # Published all the same: the symbol's state decides, and counts it as late.
            behind = newest.get(tick.symbol, 0) - tick.time_ns
            if behind > 0:
                detail = f"goes back by {behind / NS:g} s for {tick.symbol}"
                self._events.out_of_order(path, line, InvalidTickError("time", detail, "late"))
            else:
                newest[tick.symbol] = tick.time_ns
            yield tick


class GeneratorSource:
    """The seeded generator as an endless source, from the time of its construction on."""

    def __init__(
        self,
        symbols: tuple[str, ...],
        seed: int,
        replay: ReplaySettings,
        events: SourceEvents,
        now_ns: Callable[[], int],
    ) -> None:
        self._spec = GeneratorSpec(symbols=symbols, seed=seed, start_ns=now_ns())
        self._replay = replay
        self._events = events
        # With its start in the name each run is a stream of its own, which must not be resumed.
        self.identity = f"generator-{seed}@{self._spec.start_ns}"

    def batches(self, skip: Skip) -> AsyncIterator[Sequence[SourceRow]]:
        """Yield generated ticks, each when it is due."""
        ticks = Generator(self._spec).ticks()
        rows = (SourceRow(i, generated.tick) for i, generated in enumerate(ticks))
        fresh = (row for row in rows if not skip(row))
        return paced(_batches_in_thread(fresh), self._replay.speed, self._events.late)


def shifted(rows: Iterator[SourceRow], start_ns: int | None) -> Iterator[SourceRow]:
    """Yield rows with event times shifted so that the first is `start_ns`; unchanged for None."""
    shift: int | None = None
    for row in rows:
        if start_ns is None:
            yield row
            continue
        shift = start_ns - row.tick.time_ns if shift is None else shift
        moved = msgspec.structs.replace(row.tick, time_ns=row.tick.time_ns + shift)
        yield SourceRow(row.position, moved)


def _repeated(tick: Tick, offset_ns: int, lap: int) -> Tick:
    trade_id = None if tick.trade_id is None else tick.trade_id + lap * LOOP_ID_STEP
    return msgspec.structs.replace(tick, time_ns=tick.time_ns + offset_ns, trade_id=trade_id)


async def _batches_in_thread(rows: Iterator[SourceRow]) -> AsyncIterator[Sequence[SourceRow]]:
    """Yield rows in batches that are read in a thread."""
    # A slow disk must not block the event loop.
    while batch := await asyncio.to_thread(_take, rows):
        yield batch


def _take(rows: Iterator[T]) -> list[T]:
    return list(islice(rows, BATCH_ROWS))
