"""Ticks within the tolerance leave by event time, whatever their order of arrival."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.applied import apply
from tests.unit.features.ticks import START_NS, tick
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, InvalidTickError, Tick
from volsvc.features import SymbolState, SymbolTable, TickStatus, tick_order

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


def state(late_s: float, name: str = "BTC-USD") -> SymbolState:
    settings = FeatureSettings(window_size=5, late_tolerance_s=late_s, publish_every_s=2)
    return SymbolState(name, settings)


def early(one: SymbolState) -> int:
    """Return the number of ticks that were applied before their time."""
    assert one.order is not None, "the state has a tolerance"
    return one.order.early


def features(one: SymbolState) -> str:
    """Return all that forecasts depend on, and the number of ticks behind it."""
    stored = dict(one.dump())
    for name in ("order", "waiting", "tolerated"):
        stored.pop(name, None)
    quality = one.quality()
    return json.dumps(stored) + repr((one.row, quality.ticks, quality.bad_prints))


def drained(one: SymbolState) -> list[str]:
    """Apply what has its turn; return the features after each tick, and whether it is due."""
    found = []
    while (applied := one.advance()) is not None:
        found.append(f"{applied} {one.take_due()} {features(one)}")
    return found


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
    plain, sorted_rows = state(0), []
    for item in sorted(ticks, key=lambda one: one.time_ns):
        assert plain.add(item) is TickStatus.NEW
        sorted_rows += drained(plain)
    whole, twin, found = state(TOLERANCE_S), state(TOLERANCE_S), []
    for number, item in enumerate(ticks):
        assert whole.add(item) is TickStatus.NEW
        if number % again == 0:
            assert whole.add(item) is TickStatus.DUPLICATE
            twin.add(item)
        twin.add(item)
        if number == cut:
            stored = json.loads(json.dumps(twin.dump()))
            twin = state(TOLERANCE_S)
            twin.restore(stored)
        rows = drained(whole)
        assert drained(twin) == rows
        found += rows
        without = [{**one.dump(), "order": None} for one in (whole, twin)]
        assert json.dumps(without[0]) == json.dumps(without[1])
    whole.finish()
    assert found + drained(whole) == sorted_rows
    assert features(whole) == features(plain)


@pytest.mark.parametrize(
    ("newer_ns", "applied"), [(0, 0), (5 * NS - 1, 0), (5 * NS, 1), (6 * NS, 1)]
)
def test_a_tick_waits_until_one_is_newer_by_the_tolerance(newer_ns: int, applied: int) -> None:
    """From then on an older one is late, and an equal one comes after it."""
    one = state(TOLERANCE_S)
    one.add(Tick("BTC-USD", START_NS, 100.0, trade_id=1))
    assert one.advance() is None
    assert one.first_row() is not None
    one.add(Tick("BTC-USD", START_NS + newer_ns, 100.0, trade_id=2))
    assert len(drained(one)) == applied
    older = one.add(Tick("BTC-USD", START_NS - 1, 100.0, trade_id=3))
    assert older is (TickStatus.LATE if applied else TickStatus.NEW)
    equal = one.add(Tick("BTC-USD", START_NS, 100.0, trade_id=4))
    assert equal is (TickStatus.LATE if newer_ns > 5 * NS else TickStatus.NEW)


def test_ties_leave_in_the_order_of_their_arrival() -> None:
    """A recording that is sorted by time keeps the order of equal times, and so do we."""
    one = state(TOLERANCE_S)
    for number in (3, 1, 2):
        one.add(tick(0, 100.0, trade_id=number))
    one.finish()
    ids = []
    while (applied := one.advance()) is not None:
        ids.append(applied.trade_id)
    assert ids == [3, 1, 2]


def test_too_many_that_wait_leave_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost: the oldest is applied, and counted."""
    monkeypatch.setattr(tick_order, "MAX_WAITING", 3)
    one = state(TOLERANCE_S)
    for number in range(3):
        one.add(tick(number / 10, trade_id=number + 1))
    assert (one.advance(), early(one)) == (None, 0)
    for number in range(3, 10):
        one.add(tick(number / 10, trade_id=number + 1))
        applied = one.advance()
        assert applied is not None
        assert applied.trade_id == number - 2
    assert early(one) == 7
    # One that comes now is older than those that have left, and is applied after them.
    apply(one, tick(0.05, trade_id=20))
    one.finish()
    drained(one)
    assert one.quality().ticks == 11


@pytest.mark.parametrize("tolerance_s", [0.0, 1.0])
def test_a_state_is_restored_under_another_tolerance(tolerance_s: float) -> None:
    """Ticks that waited have their turn when the next one comes, at the latest."""
    one, other = state(TOLERANCE_S), state(tolerance_s)
    for number, at in enumerate((3, 1, 2)):
        one.add(tick(at, trade_id=number + 1))
    other.restore(json.loads(json.dumps(one.dump())))
    other.add(tick(4, trade_id=9))
    other.finish()
    times = []
    while (applied := other.advance()) is not None:
        times.append((applied.time_ns - START_NS) // NS)
    assert times == [1, 2, 3, 4]


def test_more_ids_than_are_remembered_within_the_tolerance() -> None:
    """A repeated tick that is not late is a duplicate, however many have come since."""
    one, ticks = state(TOLERANCE_S), [tick(n / 1_000, trade_id=n + 1) for n in range(2_000)]
    assert {apply(one, item) for item in ticks} == {TickStatus.NEW}
    again = SymbolState("BTC-USD", FeatureSettings(window_size=5, late_tolerance_s=TOLERANCE_S))
    again.restore(json.loads(json.dumps(one.dump())))
    for known in (one, again):
        assert {apply(known, item) for item in ticks} == {TickStatus.DUPLICATE}
    assert apply(one, tick(60, trade_id=9_999)) is TickStatus.NEW
    assert apply(one, ticks[0]) is TickStatus.LATE


def test_the_memory_of_ids_ends_with_the_tolerance() -> None:
    """Late ticks are forgotten, so that a state stays small."""
    one = state(1.0)
    for number in range(5_000):
        apply(one, tick(number / 10, trade_id=number + 1))
    assert len(one.dump()["order"]["same_time"]) == 11
    assert len(one.dump()["tolerated"]) == 10


def test_a_recording_is_applied_to_its_end() -> None:
    """The table applies what still waits of every symbol; it leaves out other symbols."""
    settings = FeatureSettings(late_tolerance_s=TOLERANCE_S, symbols=("A", "B"))
    ticks = [Tick(name, START_NS + at * NS, 100.0 + at) for at in (2, 1, 3) for name in "ABC"]
    table = SymbolTable(settings)
    rows = [state.row for state in table.apply(ticks)]
    assert [(row.symbol, row.price) for row in rows if row is not None] == [
        (name, 100.0 + at) for name in "AB" for at in (1, 2, 3)
    ]


def test_a_symbol_whose_ticks_wait_keeps_its_place() -> None:
    """A full table drops symbols without recent ticks, not those without rows."""
    settings = FeatureSettings(late_tolerance_s=TOLERANCE_S, max_symbols=1, symbol_ttl_s=9)
    table = SymbolTable(settings)
    table.state_for("A", START_NS).add(Tick("A", START_NS, 100.0))
    with pytest.raises(InvalidTickError, match="max_symbols"):
        table.state_for("B", START_NS + 9 * NS)
    table.state_for("B", START_NS + 9 * NS + 1)
    assert [one.symbol for one in table] == ["B"]
