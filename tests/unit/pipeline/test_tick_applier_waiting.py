"""Ticks that wait: bad prints, tolerances, and states published between two ticks."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.unit.pipeline.logged import START_NS, record, records, tick
from tests.unit.pipeline.recorded import content_of
from tests.unit.pipeline.slices import Applying, on_grid, points_of
from volsvc.domain import NS
from volsvc.transport import Record


def test_a_bad_print_is_held_and_then_counted() -> None:
    """While it is held its state is to be published; once left out, it is a rejected tick."""
    applied = Applying()
    applied.one(records([tick(0), tick(1)]))
    applied.applier.take_dirty()
    held = applied.one(records([tick(2, price=500.0, source="csv")], first=2))
    assert (held.accepted, held.rejected, len(held.updated)) == ({}, {}, 0)
    assert held.applied is not None
    assert len(held.applied.points) == 0
    assert applied.applier.take_dirty() == {"A"}
    state = applied.table.get("A")
    assert (state.offset, state.quality().bad_prints) == (2, 0)
    found = applied.one(records([tick(3)], first=3))
    assert (found.accepted, found.rejected) == ({"other": 1}, {"bad_print": 1})
    assert applied.metric("feed_bad_prints_total", symbol="A") == 1
    assert applied.metric("ticks_rejected_total", reason="bad_print") == 1
    assert applied.table.get("A").quality().bad_prints == 1
    applied.metrics.ticks.forget("A")
    assert applied.metric("feed_bad_prints_total", symbol="A") is None


def test_ticks_within_the_tolerance_are_points_in_the_order_of_their_times() -> None:
    """A slice may end between two ticks that one record has given their turn."""
    applied = Applying(late_tolerance_s=100, publish_every_s=1)
    order = [*range(59, -1, -1)]
    waiting = applied.one(records([tick(at) for at in order]))
    assert waiting.applied is not None
    assert (waiting.accepted, len(waiting.applied.points)) == ({}, 0)
    assert applied.applier.take_dirty() == {"A"}
    sizes, seconds, offsets, left = [], [], [], []
    for found in points_of(applied.applier.slices(records([tick(159)], first=60))):
        assert on_grid(found) == [*range(len(found.points))]
        sizes.append(len(found.points))
        seconds += ((found.points["row"]["time_ns"] - START_NS) // NS).tolist()
        offsets += found.copies["offset"].tolist()
        # Each has what comes after it, so that it is a whole state of the same offset.
        left += [len(found.outside[place]) for place in range(len(found.points))]
        assert found.copies["outside"].tolist() == left[-len(found.points) :]
    assert (sum(sizes), max(sizes)) == (60, 29)
    assert seconds == sorted(order)
    # The tick that let them go waits as well.
    assert left == [*range(60, 0, -1)]
    assert {*offsets} == {60}


def test_ticks_that_are_applied_early_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line tells of them, with the symbol and the limit."""
    monkeypatch.setattr("volsvc.features.tick_order.MAX_WAITING", 2)
    applied = Applying(late_tolerance_s=100)
    with capture_logs() as logs:
        found = applied.one(records([tick(at) for at in range(5)]))
    assert found.accepted == {"other": 3}
    assert [(one["event"], one["symbol"], one["count"]) for one in logs] == [
        ("ticks_applied_early", "A", 3)
    ]


def test_a_true_jump_gives_a_point_for_both_ticks() -> None:
    """The tick that confirms it is the second of the record that brings it."""
    applied = Applying()
    applied.one(records([tick(0)]))
    before = [tick(1, source="csv"), tick(2, price=500.0, source="csv")]
    assert applied.one(records(before, first=1)).accepted == {"csv": 1}
    found = applied.one(records([tick(3, price=501.0, source="mine")], first=3))
    assert (found.accepted, found.rejected) == ({"csv": 1, "other": 1}, {})
    assert found.applied is not None
    assert found.applied.points["row"]["price"].tolist() == [500.0, 501.0]
    # The copy of the first has the second as a tick that is still to be applied.
    copies = found.applied.copies
    assert copies["next"]["present"].tolist() == [1, 0]
    assert copies["offset"].tolist() == [3, 3]


JUMP = records([tick(0), tick(1), tick(2, price=500.0), tick(3, price=501.0)])
AFTER = record(4, tick(4, price=502.0))


@pytest.mark.parametrize(
    "batches",
    [[JUMP], [[]], [JUMP[3:], [AFTER]], [[AFTER]], [[], [AFTER]], [[*JUMP, AFTER]]],
    ids=["redelivered", "nothing", "then more", "only more", "later more", "at once"],
)
def test_what_a_restored_state_has_yet_to_apply_comes_first(batches: list[list[Record]]) -> None:
    """A crash between two ticks of one record loses neither, whatever is delivered after it."""
    applied = Applying()
    state = applied.states(JUMP)[2]
    again = Applying()
    again.table.restore("A", state, START_NS)
    slices = [one for batch in batches for one in again.slices(batch)]
    more = AFTER in [one for batch in batches for one in batch]
    assert sum((one.accepted for one in slices), Counter()) == {"other": 1 + more}
    if more:
        applied.slices([AFTER])
    points = [one for found in slices if found.applied for one in found.applied.results.tolist()]
    assert len(points) == 1 + more
    assert again.table.get("A").row == applied.table.get("A").row
    assert again.table.get("A").quality() == applied.table.get("A").quality()
    assert again.applier.take_dirty() == {"A"}
    assert not again.table.unfinished


def test_the_states_of_both_ticks_of_a_jump_have_the_same_rest() -> None:
    """A state restored between them publishes the one of the second as the undisturbed run did."""
    undisturbed = Applying().states(JUMP)
    again = Applying()
    again.table.restore("A", undisturbed[2], START_NS)
    (state,) = again.states([])
    assert content_of(state) == content_of(undisturbed[3])


@pytest.mark.parametrize("tolerance_s", [0.0, 1.0, 100.0])
def test_a_state_is_restored_under_another_tolerance(tolerance_s: float) -> None:
    """Ticks that waited under a longer one have their turn, in the order of their times."""
    applied = Applying(late_tolerance_s=100)
    applied.one(records([tick(at) for at in (5, 2, 9, 0)]))
    again = Applying(late_tolerance_s=tolerance_s)
    again.table.restore("A", applied.table.stored(applied.table.row("A")), START_NS)
    seconds: list[int] = []
    for found in points_of(again.applier.slices([])):
        seconds += ((found.points["row"]["time_ns"] - START_NS) // NS).tolist()
    assert seconds == [at for at in (0, 2, 5, 9) if at <= 9 - tolerance_s]
    assert again.table.get("A").quality().ticks == len(seconds)
    assert len(again.table.get("A").order or ()) == 4 - len(seconds)


def test_one_record_may_let_more_ticks_go_than_a_ring_holds() -> None:
    """The states at the points before them keep their windows: these ticks come in parts."""
    ticks = [tick(at / 1_000) for at in range(3_000)]
    at_once, tolerant = Applying(history=1), Applying(history=1, late_tolerance_s=100)
    expected = at_once.states(records(ticks))
    for first in range(0, 3_000, 500):
        assert tolerant.states(records(ticks[first : first + 500], first=first)) == []
    found = tolerant.states([record(3_000, tick(200))])
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        assert content_of(one)[1:3] == content_of(other)[1:3]


TICKS = st.lists(
    st.tuples(
        st.sampled_from("ABC"),
        st.integers(0, 300),
        st.sampled_from([99.0, 100.0, 100.01, 101.0, 500.0]),
        st.none() | st.integers(1, 9),
    ),
    max_size=60,
)


@given(TICKS, st.lists(st.integers(0, 60), max_size=4), st.sampled_from([0.0, 20.0]))
def test_batches_change_nothing(
    sent: list[tuple[str, int, float, int | None]], cuts: list[int], tolerance_s: float
) -> None:
    """Ticks in one batch, in any others, or one by one lead to the same points and states."""
    batch = [
        record(offset, tick(seconds, symbol, price=price, trade_id=trade_id))
        for offset, (symbol, seconds, price, trade_id) in enumerate(sent)
    ]
    bounds = [0, *sorted(cuts), len(batch)]
    parts = [batch[a:b] for a, b in itertools.pairwise(bounds)]
    found = []
    for batches in ([batch], parts, [[one] for one in batch]):
        applied = Applying(late_tolerance_s=tolerance_s, publish_every_s=10)
        states = [state for one in batches for state in applied.states(one)]
        rows = applied.table.rows.tolist()
        newest = {applied.table.symbol(row): applied.table.stored(row) for row in rows}
        found.append((newest, states))
    assert found[0] == found[1] == found[2]
