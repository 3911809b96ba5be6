"""The check of ticks: new, late and repeated ones, and gaps."""

from __future__ import annotations

import pytest

from tests.unit.features.one_symbol import OneSymbol
from tests.unit.features.ticks import START_NS, tick
from volsvc.domain import NS, Tick
from volsvc.features.kernels.tick_check import MAX_RECENT, SILENCE_NS


def counts(one: OneSymbol) -> tuple[int, int, int, int]:
    """Return the numbers of accepted, repeated and late ticks, and of gaps."""
    check = one.check
    return check.accepted, check.duplicates, check.late, check.gaps


def test_trade_ids() -> None:
    """A repeated trade id is a duplicate at any time and price."""
    checked = OneSymbol()
    assert checked.apply(tick(0, trade_id=5)) == "new"
    assert checked.apply(tick(1, 101.0, trade_id=5)) == "duplicate"
    assert checked.apply(tick(1, 101.0, trade_id=6)) == "new"
    assert counts(checked)[1:] == (1, 0, 0)


def test_ticks_without_ids() -> None:
    """Without ids only a tick that is equal in every field is a duplicate."""
    checked = OneSymbol()
    assert checked.apply(tick(0, size=1.0)) == "new"
    assert checked.apply(tick(0, size=2.0)) == "new"
    assert checked.apply(tick(0, size=1.0)) == "duplicate"
    assert checked.apply(tick(1, size=1.0)) == "new"


def test_a_sequence_may_restart() -> None:
    """After a reconnect, old sequence numbers with new times are new ticks."""
    checked = OneSymbol()
    assert checked.apply(tick(0, sequence=1)) == "new"
    assert checked.apply(tick(0, sequence=1)) == "duplicate"
    assert checked.apply(tick(5, sequence=1)) == "new"


def test_late_ticks() -> None:
    """A tick older than the newest by more than the tolerance is late."""
    checked = OneSymbol(late_tolerance_s=1.0)
    assert checked.apply(tick(10)) == "new"
    assert checked.apply(tick(9)) == "new"
    assert checked.apply(tick(8.999)) == "late"
    assert checked.check.late == 1


def test_gaps() -> None:
    """Trade ids missing from a trade feed and long silence are gaps; those of a ticker are not."""
    checked = OneSymbol()
    checked.apply(tick(0, trade_id=1))
    checked.apply(tick(1, trade_id=4))
    checked.apply(tick(12, trade_id=9, best_bid=99.0, best_ask=101.0))
    assert (checked.check.gaps, checked.check.gap_ns) == (1, START_NS + NS)
    checked.apply(tick(12 + SILENCE_NS / NS + 1, trade_id=8))
    assert (checked.check.gaps, checked.check.gap_ns) == (2, START_NS + 73 * NS)


@pytest.mark.parametrize("quotes", [{}, {"best_bid": 99.0, "best_ask": 101.0}])
def test_successive_ids_prove_that_nothing_is_missing(quotes: dict[str, float]) -> None:
    """Silence between them is a quiet market."""
    checked = OneSymbol()
    for count in range(10):
        checked.apply(tick(90 * count, trade_id=count + 1, **quotes))
    assert counts(checked) == (10, 0, 0, 0)
    checked.apply(tick(900))
    assert checked.check.gaps == 1


def test_a_late_trade_is_not_missing() -> None:
    """The id of a late trade has come; one that it skips has not."""
    checked = OneSymbol()
    for trade_id, at in ((1, 0), (2, 1), (3, 0.5), (4, 1.2)):
        checked.apply(tick(at, trade_id=trade_id))
    assert counts(checked) == (3, 0, 1, 0)
    checked.apply(tick(0.5, trade_id=5))
    assert checked.check.gaps == 0
    restored = checked.restored()
    restored.apply(tick(1.3, trade_id=6))
    assert restored.check.gaps == 0
    restored.apply(tick(0.5, trade_id=8))
    restored.apply(tick(11.4, trade_id=9))
    assert (restored.check.gaps, restored.check.late) == (1, 3)


@pytest.mark.parametrize(("first", "second", "gaps"), [(1, 2, 0), (1, 3, 1), (0, 1, 0), (0, 2, 1)])
def test_one_missing_trade_id_is_a_gap(first: int, second: int, gaps: int) -> None:
    """Ids count from 0; each that is left out is missing."""
    checked = OneSymbol()
    checked.apply(tick(0, trade_id=first))
    checked.apply(tick(1, trade_id=second))
    assert checked.check.gaps == 0
    checked.apply(tick(20, trade_id=second + 1))
    assert checked.check.gaps == gaps


@pytest.mark.parametrize(("more_ns", "gaps"), [(0, 0), (1, 1)])
def test_silence_of_more_than_a_minute_is_a_gap(more_ns: int, gaps: int) -> None:
    """Exactly a minute is not yet a gap."""
    checked = OneSymbol()
    checked.apply(tick(0))
    checked.apply(tick((SILENCE_NS + more_ns) / NS))
    assert checked.check.gaps == gaps


def test_every_refused_tick_is_counted() -> None:
    """Counts go on with each duplicate and each late tick."""
    checked = OneSymbol()
    for at in (5, 5, 5, 5, 1, 2, 3):
        checked.apply(tick(at))
    assert counts(checked)[:3] == (1, 3, 3)
    assert checked.check.last_ns == START_NS + 5 * NS


@pytest.mark.parametrize(("ahead_ns", "status"), [(0, "new"), (1, "future")])
def test_a_tick_may_be_ahead_by_the_tolerance(ahead_ns: int, status: str) -> None:
    """Ahead of its publication by no more than the tolerance a tick is accepted."""
    checked = OneSymbol(future_tolerance_s=1.0)
    assert checked.apply(tick(1 + ahead_ns / NS), START_NS) == status


def test_without_a_time_of_publication_no_tick_is_ahead() -> None:
    """Such a tick is compared with nothing."""
    assert OneSymbol(future_tolerance_s=1.0).apply(tick(0)) == "new"


@pytest.mark.parametrize("late_s", [0.0, 0.5, 1.0])
def test_a_repeated_tick_inside_the_tolerance_is_a_duplicate(late_s: float) -> None:
    """Ticks without ids are remembered for as long as a late one would be accepted."""
    checked = OneSymbol(late_tolerance_s=1.0)
    for at in (0.0, late_s / 2, late_s):
        checked.apply(tick(at))
    assert checked.apply(tick(0)) == "duplicate"


def test_ids_are_remembered_up_to_a_number() -> None:
    """The oldest id is forgotten when the memory is full, and the newest ones are not."""
    checked = OneSymbol()
    for trade_id in range(MAX_RECENT + 1):
        checked.apply(tick(0, trade_id=trade_id))
    assert checked.apply(tick(0, trade_id=1)) == "duplicate"
    assert checked.apply(tick(0, trade_id=0)) == "new"


def test_ticks_of_one_time_are_remembered_up_to_a_number() -> None:
    """Of a clock that stands still so many ticks are known again, and no more."""
    checked = OneSymbol()
    ticks = [tick(0, sequence=count) for count in range(MAX_RECENT + 1)]
    assert {checked.apply(one) for one in ticks} == {"new"}
    assert {checked.apply(one) for one in ticks[1:]} == {"duplicate"}
    assert checked.apply(ticks[0]) == "new"


def test_ticks_with_and_without_quotes_are_stored() -> None:
    """A restored state knows the newest ticks, whichever fields they have."""
    checked = OneSymbol()
    ticks = [
        tick(0),
        tick(0, best_bid=99.0, best_ask=101.0),
        tick(0, size=1.0),
        tick(0, side="buy"),
    ]
    for one in ticks:
        checked.apply(one)
    other = checked.restored()
    assert {other.apply(one) for one in ticks} == {"duplicate"}
    assert counts(other)[:2] == (4, 4)


def test_the_epoch_is_a_time() -> None:
    """A tick at the very start of the epoch is the newest one."""
    checked = OneSymbol()
    checked.apply(Tick("BTC-USD", 0, 100.0))
    assert checked.check.last_ns == 0
