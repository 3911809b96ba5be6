"""Batches of ticks: however they are cut, and nothing is written outside of their symbols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.ticks import START_NS
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, Tick
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.features import Buffers, PointGrid, SymbolTable
from volsvc.features.kernels import apply
from volsvc.features.kernels.apply import RESULT
from volsvc.features.kernels.points import GRID, MINUTE, POINT
from volsvc.features.kernels.price_window import ROW
from volsvc.features.kernels.record import TICKS
from volsvc.features.tick_batch import tick_batch
from volsvc.models import Baseline, packaged
from volsvc.models.columns import HORIZONS_S
from volsvc.models.symbol_forecasts import SymbolForecasts

NAMES = ("A", "B", "C")
# A byte that no record is full of.
GUARD = 0xA5
# What belongs to a point, by its kind; the rest is of an earlier one in its place.
FIELDS = {
    MINUTE: ("symbol", "kind", "at_ns", "features", "bar", "one_minute", "observed", "gap"),
    GRID: ("symbol", "kind", "at_ns", "features", "row", "quality"),
}

# Symbol, time since the tick before, price, id: late ticks, duplicates, holes in the ids, gaps of
# the feed, bad prints and jumps are among them.
moves = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from([0, 1, NS // 4, NS, 3 * NS, 61 * NS, 3600 * NS, 30 * 86_400 * NS, -NS]),
        st.sampled_from([100.0, 100.01, 100.02, 99.0, 150.0, 1e-9, 1e9]),
        st.none() | st.integers(1, 400),
    ),
    max_size=80,
)
grids = st.sampled_from([PointGrid(NS), PointGrid(NS // 4), PointGrid(0, 10 * NS, 60 * NS)])


def ticks_of(steps: Sequence[tuple[str, int, float, int | None]]) -> list[Tick]:
    at, ticks = START_NS, []
    for name, step, price, trade_id in steps:
        at += step
        quoted = trade_id is not None and trade_id % 7 == 0
        quotes: dict[str, Any] = {"best_bid": price, "best_ask": price} if quoted else {}
        ticks.append(Tick(name, at, price, size=1.5, trade_id=trade_id, **quotes))
    return ticks


def table_of(grid: PointGrid, late_s: float = 0.0) -> SymbolTable:
    settings = FeatureSettings(window_size=5, history=1, late_tolerance_s=late_s)
    table = SymbolTable(settings, grid=grid)
    for name in NAMES:
        table.row_for(name, START_NS)
    return table


class Collected:
    """All that the parts of a table's results hold, as bytes."""

    def __init__(self, table: SymbolTable) -> None:
        self.results: list[bytes] = []
        self.points: list[bytes] = []
        self.copies: list[bytes] = []
        self._table = table

    def apply(self, batch: Any, max_points: int) -> None:
        buffers = Buffers(max_points, copies=True, rows=True)
        done = 0
        while done < len(batch):
            applied = self._table.apply(batch, done, buffers)
            done = applied.next
            results = applied.results.copy()
            # The place in a batch.
            results["tick"] = 0
            self.results += [result.tobytes() for result in results]
            self.points += [
                b"".join(point[name].tobytes() for name in FIELDS[point.kind])
                for point in applied.points
            ]
            self.copies += [self._table.stored_at(*at) for at in self._published(applied)]

    def _published(self, applied: Any) -> Any:
        for index, point in enumerate(applied.points):
            if point.kind == GRID and self._table._options["step_ns"][0]:
                copy = applied.copies[index : index + 1]
                yield int(point.symbol), copy, applied.outside.get(index)

    def states(self) -> list[bytes]:
        return [self._table.stored(self._table.row(name)) for name in NAMES]


@given(moves, grids, st.sampled_from([0.0, 2.0]), st.lists(st.integers(1, 30), min_size=1))
def test_batches_may_be_cut_anywhere(
    steps: Sequence[tuple[str, int, float, int | None]],
    grid: PointGrid,
    late_s: float,
    cuts: Sequence[int],
) -> None:
    """One batch, single ticks and any parts give the same results, points and states, in bytes.

    So do buffers that hold the points of few ticks or of many.
    """
    ticks = ticks_of(steps)
    found = []
    for sizes, room in (([len(ticks) or 1], 1_000), ([1], 0), (cuts, 0), (cuts, 7)):
        table = table_of(grid, late_s)
        collected, first, turn = Collected(table), 0, 0
        while first < len(ticks):
            part = ticks[first : first + sizes[turn % len(sizes)]]
            first, turn = first + len(part), turn + 1
            rows = [table.row(item.symbol) for item in part]
            batch = tick_batch(columns_of_ticks(part), rows)
            collected.apply(batch, table.most_points + room)
        found.append(collected)
    for other in found[1:]:
        assert other.results == found[0].results
        assert other.points == found[0].points
        assert other.copies == found[0].copies
        assert other.states() == found[0].states()


def guarded(count: int, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> tuple[Any, Any]:
    """Return an array between two guards of as many elements, and all three together."""
    whole = np.zeros((3 * max(count, 1), *shape), dtype)
    whole.view(np.uint8).reshape(-1)[:] = GUARD
    return whole[max(count, 1) : max(count, 1) + count], whole


def inside(count: int, room: int | None = None) -> slice:
    """Return the place of `count` elements of an array for `room` that has guards."""
    first = max(count if room is None else room, 1)
    return slice(first, first + count)


def guards(array: Any, place: slice) -> bytes:
    """Return all bytes but those of the elements inside."""
    return bytes(np.delete(array, place, axis=0).tobytes())


@given(moves, grids, st.integers(0, 40))
def test_nothing_is_written_outside(
    steps: Sequence[tuple[str, int, float, int | None]], grid: PointGrid, left: int
) -> None:
    """Ticks of a symbol change its own row alone, and results their own place.

    So do forecasts and what is learnt at the points: other symbols may be in use at that time.
    """
    table = table_of(grid)
    ticks = [item for item in ticks_of(steps) if item.symbol == "B"]
    row = table.row("B")
    # The ring begins anew after a few ticks.
    table.records[row].ticks.window.at = table._prices.shape[1] - 1 - left
    arrays = [table.records, table._prices, table._times, table.daily]
    for array in arrays:
        others = np.delete(np.arange(len(array)), row)
        array[others] = np.frombuffer(bytes([GUARD]) * array[:1].nbytes, array.dtype).reshape(
            array[:1].shape
        )
    before = [guards(array, slice(row, row + 1)) for array in arrays]
    batch = tick_batch(columns_of_ticks(ticks), [row] * len(ticks))
    results, whole_results = guarded(len(ticks), RESULT)
    rows, whole_rows = guarded(len(ticks), ROW, (2,))
    done = 0
    while done < len(batch):
        # Room for the points of one tick, and no more.
        points, whole_points = guarded(table.most_points, POINT)
        copies, whole_copies = guarded(table.most_points, TICKS)
        done, count = apply.apply_ticks(
            *table.arrays, batch, done, False, results, points, copies, rows
        )
        # Rows of points that were not needed are as they were, too.
        assert set(guards(whole_points, inside(count, table.most_points))) == {GUARD}
        assert set(guards(whole_copies, inside(table.most_points))) == {GUARD}
        if count:
            made = points[:count].copy()
            SymbolForecasts(table, Baseline(), made, HORIZONS_S, packaged().model).settle_all()
    for whole in (whole_results, whole_rows):
        assert set(guards(whole, inside(len(ticks)))) <= {GUARD}
    assert [guards(array, slice(row, row + 1)) for array in arrays] == before
