"""Ticks within the tolerance leave by event time, whatever their order of arrival."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.applied import AppliedTick, apply, finish, rows_after
from tests.unit.features.one_symbol import OneSymbol, features
from tests.unit.features.ticks import START_NS, tick
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, FeatureRow, InvalidTickError, Tick
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.features import SymbolTable, apply_recording, tick_order

TOLERANCE_S = 5.0

# Time since the tick before, price, and delay of the arrival, always less than the tolerance.
arrivals = st.lists(
    st.tuples(
        st.sampled_from([0, 1, NS // 4, NS, 3 * NS, 20 * NS, 61 * NS]),
        st.sampled_from([100.0, 100.01, 100.1, 99.9, 150.0]),
        st.integers(0, 5 * NS - 1) | st.sampled_from([0, NS, 5 * NS - 1]),
    ),
    max_size=60,
)


def state(late_s: float) -> OneSymbol:
    return OneSymbol(window_size=5, late_tolerance_s=late_s, publish_every_s=0.25)


def early(one: OneSymbol) -> int:
    """Return the number of ticks that were applied before their time, since the last call."""
    return sum(number for _, number in one.table.take_early())


class Found:
    """All rows and points of ticks, without the counts of deliveries."""

    def __init__(self) -> None:
        self.rows: list[FeatureRow] = []
        self.points: list[bytes] = []

    def add(self, applied: AppliedTick) -> None:
        self.rows += applied.rows
        for point in applied.points:
            kept = np.array([point])
            kept["tick"] = 0
            for name in ("duplicates", "late"):
                kept["quality"][name] = 0
            self.points.append(kept.tobytes())


def arrived(steps: Sequence[tuple[int, float, int]]) -> list[Tick]:
    """Return ticks in the order of their arrival."""
    at, ticks = START_NS, []
    for number, (step, price, delay) in enumerate(steps):
        at += step
        ticks.append((at + delay, Tick("BTC-USD", at, price, trade_id=number + 1)))
    return [one for _, one in sorted(ticks, key=lambda pair: pair[0])]


@given(arrivals, st.integers(0, 60), st.integers(1, 4))
def test_any_order_within_the_tolerance_gives_the_features_of_the_sorted_recording(
    steps: Sequence[tuple[int, float, int]], cut: int, again: int
) -> None:
    """To the bit, also with a restart after any tick and with ticks that come twice."""
    ticks = arrived(steps)
    plain, expected = state(0), Found()
    for item in sorted(ticks, key=lambda one: one.time_ns):
        applied = plain.apply_one(item)
        assert applied.status == "new"
        expected.add(applied)
    whole, twin, found = state(TOLERANCE_S), state(TOLERANCE_S), Found()
    for number, item in enumerate(ticks):
        applied, same = whole.apply_one(item), twin.apply_one(item)
        assert applied.status == "new"
        assert repr(same) == repr(applied)
        found.add(applied)
        if number % again == 0:
            for one in (whole, twin):
                assert one.apply_one(item) == ("duplicate", [], [])
        if number == cut:
            twin = twin.restored()
        assert twin.stored() == whole.stored()
    found.add(finish(whole.table))
    assert found.rows == expected.rows
    assert found.points == expected.points
    assert features(whole) == features(plain)
    assert whole.quality.ticks == plain.quality.ticks == len(ticks) - held(whole)
    assert whole.quality.bad_prints == plain.quality.bad_prints


def held(one: OneSymbol) -> int:
    """Return the number of ticks that were taken and are in no row."""
    return int(one.ticks.prints.held.present + one.ticks.prints.dropped)


@pytest.mark.parametrize(
    ("newer_ns", "applied"), [(0, 0), (5 * NS - 1, 0), (5 * NS, 1), (6 * NS, 1)]
)
def test_a_tick_waits_until_one_is_newer_by_the_tolerance(newer_ns: int, applied: int) -> None:
    """From then on an older one is late, and an equal one comes after it."""
    one = state(TOLERANCE_S)
    assert one.rows_after(Tick("BTC-USD", START_NS, 100.0, trade_id=1)) == []
    (point,) = one.table.newest(one.table.rows)
    assert (point.row.time_ns, point.row.price, point.row.n) == (START_NS, 100.0, 0)
    rows = one.rows_after(Tick("BTC-USD", START_NS + newer_ns, 100.0, trade_id=2))
    assert len(rows) == applied
    older = one.apply(Tick("BTC-USD", START_NS - 1, 100.0, trade_id=3))
    assert older == ("late" if applied else "new")
    equal = one.apply(Tick("BTC-USD", START_NS, 100.0, trade_id=4))
    assert equal == ("late" if newer_ns > 5 * NS else "new")


def test_ties_leave_in_the_order_of_their_arrival() -> None:
    """A recording that is sorted by time keeps the order of equal times, and so do we."""
    one = state(TOLERANCE_S)
    for number in (3, 1, 2):
        one.apply(tick(0, 100.0 + number / 100, trade_id=number))
    rows = finish(one.table).rows
    assert [round(row.price % 100 * 100) for row in rows] == [3, 1, 2]


def test_too_many_that_wait_leave_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost: the oldest is applied, and counted."""
    monkeypatch.setattr(tick_order, "MAX_WAITING", 3)
    one = state(TOLERANCE_S)
    for number in range(3):
        assert one.rows_after(tick(number / 10, trade_id=number + 1)) == []
    assert early(one) == 0
    for number in range(3, 10):
        rows = one.rows_after(tick(number / 10, trade_id=number + 1))
        assert [row.time_ns for row in rows] == [tick((number - 3) / 10).time_ns]
    assert early(one) == 7
    # One that comes now is older than those that have left, and is applied after them.
    one.apply(tick(0.05, trade_id=20))
    finish(one.table)
    assert one.quality.ticks == 11


@pytest.mark.parametrize("tolerance_s", [0.0, 1.0])
def test_a_state_is_restored_under_another_tolerance(tolerance_s: float) -> None:
    """Ticks that waited have their turn when the next one comes, at the latest."""
    one = state(TOLERANCE_S)
    for number, at in enumerate((3, 1, 2)):
        one.apply(tick(at, trade_id=number + 1))
    other = one.restored(late_tolerance_s=tolerance_s)
    rows = [*other.rows_after(tick(4, trade_id=9)), *finish(other.table).rows]
    assert [(row.time_ns - START_NS) // NS for row in rows] == [1, 2, 3, 4]
    # From then on the other tolerance holds.
    assert len(other.rows_after(tick(9, trade_id=10))) == (0 if tolerance_s else 1)


def test_a_symbol_that_waits_under_another_tolerance_delays_no_other() -> None:
    """Restored ticks come before any other, and without a tolerance none waits after them."""
    one = state(TOLERANCE_S)
    one.apply_all([tick(3, trade_id=1), tick(1, trade_id=2)])
    other = one.restored(late_tolerance_s=0.0)
    ether = [Tick("ETH-USD", START_NS + at * NS, 10.0, trade_id=at) for at in (1, 2, 3)]
    assert [len(rows_after(other.table, item)) for item in ether[:2]] == [3, 1]
    assert [len(other.rows_after(tick(at, trade_id=at))) for at in (4, 5)] == [1, 1]
    assert len(rows_after(other.table, ether[2])) == 1


def test_more_ids_than_are_remembered_within_the_tolerance() -> None:
    """A repeated tick that is not late is a duplicate, however many have come since."""
    one, ticks = state(TOLERANCE_S), [tick(n / 1_000, trade_id=n + 1) for n in range(2_000)]
    assert set(one.apply_all(ticks)) == {"new"}
    for known in (one, one.restored()):
        assert set(known.apply_all(ticks)) == {"duplicate"}
    assert one.apply(tick(60, trade_id=9_999)) == "new"
    assert one.apply(ticks[0]) == "late"


def test_the_memory_of_ids_ends_with_the_tolerance() -> None:
    """Late ticks are forgotten, so that a state stays small."""
    one = state(1.0)
    one.apply_all([tick(number / 10, trade_id=number + 1) for number in range(5_000)])
    order = one.state.order
    assert order is not None
    assert len(order) == 10
    assert [number for number in range(6_000) if number in order] == [*range(4_991, 5_001)]


def test_a_recording_is_applied_to_its_end() -> None:
    """The table applies what still waits of every symbol; it leaves out other symbols."""
    settings = FeatureSettings(late_tolerance_s=TOLERANCE_S, symbols=("A", "B"))
    ticks = [Tick(name, START_NS + at * NS, 100.0 + at) for at in (2, 1, 3) for name in "ABC"]
    table = SymbolTable(settings)
    statuses, found = Counter[str](), []
    for applied in apply_recording(table, [columns_of_ticks(ticks)], statuses, rows=True):
        for result, rows in zip(applied.results, applied.rows, strict=True):
            taken = rows[result.applied >= 0]
            found += [(table.symbol(result.symbol), row.price) for row in taken]
    assert found == [(name, 100.0 + at) for name in "AB" for at in (1, 2, 3)]
    assert (statuses["new"], statuses["unknown_symbol"]) == (6, 3)


def test_a_symbol_whose_ticks_wait_keeps_its_place() -> None:
    """A full table drops symbols without recent ticks, not those without rows."""
    settings = FeatureSettings(late_tolerance_s=TOLERANCE_S, max_symbols=1, symbol_ttl_s=9)
    table = SymbolTable(settings)
    apply(table, Tick("A", START_NS, 100.0))
    with pytest.raises(InvalidTickError, match="max_symbols"):
        table.row_for("B", START_NS + 9 * NS)
    table.row_for("B", START_NS + 9 * NS + 1)
    assert [one.symbol for one in table] == ["B"]
