"""Ticks applied to a table of symbols, one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from volsvc.domain import FeatureRow, Tick
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.features import Applied, Buffers, SymbolTable, apply_recording
from volsvc.features.kernels.apply import NONE
from volsvc.features.recordings import STATUSES
from volsvc.features.tick_batch import tick_batch

# Room for the points of the ticks that one tick may let go.
MAX_POINTS = 64


class AppliedTick(NamedTuple):
    """The status of a tick, and the rows and points (POINT) of those that were applied with it."""

    status: str
    rows: list[FeatureRow]
    points: list[Any]


def apply(table: SymbolTable, tick: Tick, published_ns: int = 0) -> str:
    """Apply a tick and those that waited for it, and return its status."""
    return apply_one(table, tick, published_ns).status


def rows_after(table: SymbolTable, tick: Tick) -> list[FeatureRow]:
    """Apply a tick, and return the row after each tick that was applied with it."""
    return apply_one(table, tick).rows


def apply_all(table: SymbolTable, ticks: Iterable[Tick], published_ns: int = 0) -> list[str]:
    """Apply ticks in one batch, and return their statuses."""
    statuses: list[str] = []
    for applied in _parts(table, list(ticks), published_ns, Buffers(MAX_POINTS)):
        statuses += _statuses(applied)
    return statuses


def apply_one(table: SymbolTable, tick: Tick, published_ns: int = 0) -> AppliedTick:
    """Apply a tick and those that waited for it."""
    found, statuses = AppliedTick("", [], []), []
    for applied in _parts(table, [tick], published_ns, Buffers(MAX_POINTS, rows=True)):
        statuses += _statuses(applied)
        _add(found, table, applied)
    (status,) = statuses
    return found._replace(status=status)


def _parts(
    table: SymbolTable, ticks: Sequence[Tick], published_ns: int, buffers: Buffers
) -> Iterator[Applied]:
    rows = [table.row_for(tick.symbol, tick.time_ns) for tick in ticks]
    batch = tick_batch(columns_of_ticks(ticks), rows)
    batch["published_ns"] = published_ns
    done = 0
    while done < len(batch):
        applied = table.apply(batch, done, buffers)
        done = applied.next
        yield applied


def _statuses(applied: Applied) -> list[str]:
    checked = applied.results["status"]
    return [STATUSES[status] for status in checked[checked != NONE].tolist()]


def finish(table: SymbolTable) -> AppliedTick:
    """Apply all ticks that wait, as at the end of a recording."""
    found = AppliedTick("", [], [])
    for applied in apply_recording(table, [], Counter(), rows=True):
        _add(found, table, applied)
    return found


def _add(found: AppliedTick, table: SymbolTable, applied: Applied) -> None:
    for result, rows in zip(applied.results, applied.rows, strict=True):
        symbol = table.symbol(int(result.symbol))
        taken = rows[result.applied != NONE].tolist()
        found.rows.extend(FeatureRow(symbol, *row) for row in taken)
    found.points.extend(applied.points.copy())
