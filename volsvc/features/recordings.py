"""Recordings applied to a table of symbols, in parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import InvalidTickError
from volsvc.domain.tick_columns import TickColumns
from volsvc.features.applied import Applied, Buffers
from volsvc.features.kernels.tick_check import DUPLICATE, FUTURE, LATE, NEW
from volsvc.features.table import SymbolTable
from volsvc.features.tick_batch import tick_batch

# Points of a recording that are yielded at once, beside those of one tick.
RECORDING_POINTS: Final = 4_096
# The reason of a tick that was taken, held for its price, and then left out.
BAD_PRINT: Final = "bad_print"
# Gaps stand beside the statuses of a recording's ticks under this name.
GAP: Final = "gap"
# The row of a symbol that has none.
_UNKNOWN: Final = -1
# Statuses of ticks by their number, as they are counted and named in metrics.
STATUSES: Final = {NEW: "new", LATE: "late", DUPLICATE: "duplicate", FUTURE: "future"}


def apply_recording(
    table: SymbolTable,
    parts: Iterable[TickColumns],
    statuses: Counter[str],
    *,
    rows: bool = False,
) -> Iterator[Applied]:
    """Apply the parts of a whole recording, and yield the result of each.

    Ticks for which there is no state are left out: the daemon dead-letters these. `statuses`
    counts ticks by their status or by the reason of such a letter; see also `_tally`.
    """
    buffers = Buffers(RECORDING_POINTS + table.most_points, rows=rows)
    for ticks in parts:
        for batch in _batches(table, ticks, statuses):
            done = 0
            while done < len(batch):
                applied = table.apply(batch, done, buffers)
                done = applied.next
                _count(applied.results, statuses)
                yield applied
    yield from table.finish(buffers)
    _tally(table, statuses)


def _batches(
    table: SymbolTable, ticks: TickColumns, statuses: Counter[str]
) -> Iterator[NDArray[Any]]:
    """Yield ticks as arrays of TICK, with the rows of their symbols."""
    rows = np.full(len(ticks), _UNKNOWN)
    first = end = 0
    while end < len(ticks):
        known = _known_rows(table, ticks)
        rows[end:] = known[ticks.symbol[end:]]
        unknown = np.flatnonzero(rows[end:] == _UNKNOWN) + end
        end = len(ticks)
        for at in unknown.tolist():
            number, time_ns = int(ticks.symbol[at]), int(ticks.time_ns[at])
            if known[number] == _UNKNOWN:
                is_full = table.full
                # It may take the room of a symbol whose ticks are still to be applied; they only
                # make fewer symbols expire.
                if is_full and at > first and len(table.expired(time_ns)):
                    yield from _batch(ticks, rows, first, at)
                    first = at
                try:
                    known[number] = table.row_for(ticks.symbols[number], time_ns)
                except InvalidTickError as error:
                    statuses[error.reason] += 1
                    continue
                if is_full:
                    # It has taken the room of others, which are unknown from here on.
                    end = at
                    break
            rows[at] = known[number]
    yield from _batch(ticks, rows, first, end)


def _batch(
    ticks: TickColumns, rows: NDArray[np.int64], first: int, end: int
) -> Iterator[NDArray[Any]]:
    """Yield the ticks of a part that have a row, if there are any."""
    taken = np.flatnonzero(rows[first:end] != _UNKNOWN) + first
    if len(taken):
        yield tick_batch(ticks.take(taken), rows[taken])


def _known_rows(table: SymbolTable, ticks: TickColumns) -> NDArray[np.int64]:
    """Return the rows of symbols by their number, as far as they are known."""
    rows = np.full(len(ticks.symbols), _UNKNOWN)
    for number in np.flatnonzero(np.bincount(ticks.symbol)).tolist():
        row = table.known_row(ticks.symbols[number])
        rows[number] = _UNKNOWN if row is None else row
    return rows


def _tally(table: SymbolTable, statuses: Counter[str]) -> None:
    """Count the bad prints among the new ticks, and the gaps, at the end of a recording."""
    ticks = table.records["ticks"][table.rows]
    # One that still waits is not confirmed by any other tick.
    bad = ticks["prints"]["dropped"].sum() + ticks["prints"]["held"]["present"].sum()
    statuses[BAD_PRINT] += int(bad)
    statuses[GAP] += int(ticks["check"]["gaps"].sum())


def _count(results: Any, statuses: Counter[str]) -> None:
    for status, name in STATUSES.items():
        statuses[name] += int(np.count_nonzero(results["status"] == status))
