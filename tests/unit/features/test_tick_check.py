"""TickValidator: new, late and repeated ticks, and gaps."""

from __future__ import annotations

import json

import pytest

from tests.unit.features.ticks import START_NS, tick
from volsvc.domain import NS, Tick
from volsvc.features import TickStatus, TickValidator
from volsvc.features.tick_check import MAX_RECENT_IDS, MAX_SAME_TIME, SILENCE_NS


def test_trade_ids() -> None:
    """A repeated trade id is a duplicate at any time and price."""
    validator = TickValidator(0)
    assert validator.check(tick(0, trade_id=5)) is TickStatus.NEW
    assert validator.check(tick(1, 101.0, trade_id=5)) is TickStatus.DUPLICATE
    assert validator.check(tick(1, 101.0, trade_id=6)) is TickStatus.NEW
    assert (validator.duplicates, validator.late, validator.gaps) == (1, 0, 0)


def test_ticks_without_ids() -> None:
    """Without ids only a tick that is equal in every field is a duplicate."""
    validator = TickValidator(0)
    assert validator.check(tick(0, size=1.0)) is TickStatus.NEW
    assert validator.check(tick(0, size=2.0)) is TickStatus.NEW
    assert validator.check(tick(0, size=1.0)) is TickStatus.DUPLICATE
    assert validator.check(tick(1, size=1.0)) is TickStatus.NEW


def test_a_sequence_may_restart() -> None:
    """After a reconnect, old sequence numbers with new times are new ticks."""
    validator = TickValidator(0)
    assert validator.check(tick(0, sequence=1)) is TickStatus.NEW
    assert validator.check(tick(0, sequence=1)) is TickStatus.DUPLICATE
    assert validator.check(tick(5, sequence=1)) is TickStatus.NEW


def test_late_ticks() -> None:
    """A tick older than the newest by more than the tolerance is late."""
    validator = TickValidator(1.0)
    assert validator.check(tick(10)) is TickStatus.NEW
    assert validator.check(tick(9)) is TickStatus.NEW
    assert validator.check(tick(8.999)) is TickStatus.LATE
    assert validator.late == 1


def test_gaps() -> None:
    """Trade ids missing from a trade feed and long silence are gaps; those of a ticker are not."""
    validator = TickValidator(0)
    validator.check(tick(0, trade_id=1))
    validator.check(tick(1, trade_id=4))
    validator.check(tick(12, trade_id=9, best_bid=99.0, best_ask=101.0))
    assert (validator.gaps, validator.gap_ns) == (1, START_NS + NS)
    validator.check(tick(12 + SILENCE_NS / NS + 1, trade_id=8))
    assert (validator.gaps, validator.gap_ns) == (2, START_NS + 73 * NS)


@pytest.mark.parametrize("quotes", [{}, {"best_bid": 99.0, "best_ask": 101.0}])
def test_successive_ids_prove_that_nothing_is_missing(quotes: dict[str, float]) -> None:
    """Silence between them is a quiet market."""
    validator = TickValidator(0)
    for count in range(10):
        validator.check(tick(90 * count, trade_id=count + 1, **quotes))
    assert (validator.gaps, validator.accepted) == (0, 10)
    validator.check(tick(900))
    assert validator.gaps == 1


def test_a_late_trade_is_not_missing() -> None:
    """The id of a late trade has come; one that it skips has not."""
    validator = TickValidator(0)
    for trade_id, at in ((1, 0), (2, 1), (3, 0.5), (4, 1.2)):
        validator.check(tick(at, trade_id=trade_id))
    assert (validator.gaps, validator.late) == (0, 1)
    restored = TickValidator(0)
    for one, trade_id, at in ((validator, 5, 0.5), (restored, 6, 1.3)):
        if one is restored:
            restored.restore(json.loads(json.dumps(validator.dump())))
        one.check(tick(at, trade_id=trade_id))
        assert one.gaps == 0
    restored.check(tick(0.5, trade_id=8))
    restored.check(tick(11.4, trade_id=9))
    assert (restored.gaps, restored.late) == (1, 3)


@pytest.mark.parametrize(("first", "second", "gaps"), [(1, 2, 0), (1, 3, 1), (0, 1, 0), (0, 2, 1)])
def test_one_missing_trade_id_is_a_gap(first: int, second: int, gaps: int) -> None:
    """Ids count from 0; each that is left out is missing."""
    validator = TickValidator(0)
    validator.check(tick(0, trade_id=first))
    validator.check(tick(1, trade_id=second))
    assert validator.gaps == 0
    validator.check(tick(20, trade_id=second + 1))
    assert validator.gaps == gaps


@pytest.mark.parametrize(("more_ns", "gaps"), [(0, 0), (1, 1)])
def test_silence_of_more_than_a_minute_is_a_gap(more_ns: int, gaps: int) -> None:
    """Exactly a minute is not yet a gap."""
    validator = TickValidator(0)
    validator.check(tick(0))
    validator.check(tick((SILENCE_NS + more_ns) / NS))
    assert validator.gaps == gaps


def test_every_refused_tick_is_counted() -> None:
    """Counts go on with each duplicate and each late tick."""
    validator = TickValidator(0)
    for at in (5, 5, 5, 5, 1, 2, 3):
        validator.check(tick(at))
    assert (validator.accepted, validator.duplicates, validator.late) == (1, 3, 3)
    assert validator.last_ns == START_NS + 5 * NS


@pytest.mark.parametrize(("ahead_ns", "status"), [(0, TickStatus.NEW), (1, TickStatus.FUTURE)])
def test_a_tick_may_be_ahead_by_the_tolerance(ahead_ns: int, status: TickStatus) -> None:
    """Ahead of its publication by no more than the tolerance a tick is accepted."""
    validator = TickValidator(0, 1.0)
    assert validator.check(tick(1 + ahead_ns / NS), START_NS) is status


def test_without_a_time_of_publication_no_tick_is_ahead() -> None:
    """Such a tick is compared with nothing."""
    assert TickValidator(0, 1.0).check(tick(0)) is TickStatus.NEW


@pytest.mark.parametrize("late_s", [0.0, 0.5, 1.0])
def test_a_repeated_tick_inside_the_tolerance_is_a_duplicate(late_s: float) -> None:
    """Ticks without ids are remembered for as long as a late one would be accepted."""
    validator = TickValidator(1.0)
    for at in (0.0, late_s / 2, late_s):
        validator.check(tick(at))
    assert validator.check(tick(0)) is TickStatus.DUPLICATE


def test_ids_are_remembered_up_to_a_number() -> None:
    """The oldest id is forgotten when the memory is full, and the newest ones are not."""
    validator = TickValidator(0)
    for trade_id in range(MAX_RECENT_IDS + 1):
        validator.check(tick(0, trade_id=trade_id))
    assert validator.check(tick(0, trade_id=1)) is TickStatus.DUPLICATE
    assert validator.check(tick(0, trade_id=0)) is TickStatus.NEW


def test_ticks_of_one_time_are_remembered_up_to_a_number() -> None:
    """Of a clock that stands still so many ticks are known again, and no more."""
    validator = TickValidator(0)
    ticks = [tick(0, sequence=count) for count in range(MAX_SAME_TIME + 1)]
    assert {validator.check(one) for one in ticks} == {TickStatus.NEW}
    assert validator.check(ticks[-2]) is TickStatus.DUPLICATE
    assert validator.check(ticks[-1]) is TickStatus.NEW


def test_ticks_with_and_without_quotes_are_stored() -> None:
    """A restored validator knows the ticks of the newest time, whichever fields they have."""
    validator, other = TickValidator(0), TickValidator(0)
    ticks = [
        tick(0),
        tick(0, best_bid=99.0, best_ask=101.0),
        tick(0, size=1.0),
        tick(0, side="buy"),
    ]
    for one in ticks:
        validator.check(one)
    other.restore(json.loads(json.dumps(validator.dump())))
    assert {other.check(one) for one in ticks} == {TickStatus.DUPLICATE}
    assert (other.accepted, other.duplicates) == (4, 4)


def test_the_epoch_is_a_time() -> None:
    """A tick at the very start of the epoch is the newest one."""
    validator = TickValidator(0)
    validator.check(Tick("BTC-USD", 0, 100.0))
    assert validator.last_ns == 0
