"""Recordings applied to a table of symbols, in parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import numpy as np

from volsvc.domain import InvalidTickError, Tick
from volsvc.features.applied import Applied, Buffers
from volsvc.features.kernels.tick_check import DUPLICATE, FUTURE, LATE, NEW
from volsvc.features.table import SymbolTable
from volsvc.features.tick_batch import tick_batch

# Ticks of a recording that are applied in one call.
RECORDING_TICKS: Final = 4_096
# The reason of a tick that was taken, held for its price, and then left out.
BAD_PRINT: Final = "bad_print"
# Gaps stand beside the statuses of a recording's ticks under this name.
GAP: Final = "gap"
# Statuses of ticks by their number, as they are counted and named in metrics.
STATUSES: Final = {NEW: "new", LATE: "late", DUPLICATE: "duplicate", FUTURE: "future"}


def apply_recording(
    table: SymbolTable, ticks: Iterable[Tick], statuses: Counter[str], *, rows: bool = False
) -> Iterator[Applied]:
    """Apply a whole recording, and yield the result of each part.

    Ticks for which there is no state are left out: the daemon dead-letters these. `statuses`
    counts ticks by their status or by the reason of such a letter; see also `_tally`.
    """
    buffers = Buffers(RECORDING_TICKS + table.most_points, rows=rows)
    for batch in _batches(table, ticks, statuses):
        done = 0
        while done < len(batch):
            applied = table.apply(batch, done, buffers)
            done = applied.next
            _count(applied.results, statuses)
            yield applied
    yield from table.finish(buffers)
    _tally(table, statuses)


def _batches(table: SymbolTable, ticks: Iterable[Tick], statuses: Counter[str]) -> Iterator[Any]:
    """Yield ticks as arrays of TICK, with the rows of their symbols."""
    remaining = iter(ticks)
    while part := list(islice(remaining, RECORDING_TICKS)):
        taken: list[Tick] = []
        rows: list[int] = []
        for tick in part:
            # A new symbol may take the room of one whose ticks are still to be applied.
            if table.full and tick.symbol not in table and taken:
                yield tick_batch(taken, rows)
                taken, rows = [], []
            try:
                rows.append(table.row_for(tick.symbol, tick.time_ns))
            except InvalidTickError as error:
                statuses[error.reason] += 1
                continue
            taken.append(tick)
        if taken:
            yield tick_batch(taken, rows)


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
