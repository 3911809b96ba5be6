"""TickValidator: new, late and repeated ticks, and gaps."""

from __future__ import annotations

from tests.unit.features.ticks import tick
from volsvc.domain import NS
from volsvc.features import TickStatus, TickValidator
from volsvc.features.tick_check import SILENCE_NS


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
    """Missing trade ids of a trade feed and long silence are gaps; those of a ticker are not."""
    validator = TickValidator(0)
    validator.check(tick(0, trade_id=1))
    validator.check(tick(1, trade_id=4))
    assert validator.gaps == 1
    validator.check(tick(2, trade_id=9, best_bid=99.0, best_ask=101.0))
    assert validator.gaps == 1
    validator.check(tick(2 + SILENCE_NS / NS + 1, trade_id=10))
    assert validator.gaps == 2
