"""Holes in the trade ids: filled by late trades, or gaps of the feed."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.ticks import START_NS, tick
from volsvc.domain import NS, Tick
from volsvc.features import TickValidator


def checked(ticks: Iterable[Tick]) -> TickValidator:
    validator = TickValidator(0)
    for one in ticks:
        validator.check(one)
    return validator


def restored(validator: TickValidator) -> TickValidator:
    other = TickValidator(0)
    other.restore(json.loads(json.dumps(validator.dump())))
    return other


def counted(validator: TickValidator, *ticks: tuple[float, int]) -> int:
    """Return the number of gaps after more ticks, given by seconds and trade id."""
    for at, trade_id in ticks:
        validator.check(tick(at, trade_id=trade_id))
    return validator.gaps


def test_a_late_trade_fills_its_hole() -> None:
    """Trades 1, 2, 4 and then 3 are all, however old they become."""
    validator = checked(tick(at, trade_id=n) for at, n in ((0, 1), (1, 2), (1.2, 4)))
    for one in (validator, restored(validator)):
        assert counted(one, (0.5, 3), (1.5, 5), (100, 6), (101, 7)) == 0
        assert "missing" not in one.dump()


@pytest.mark.parametrize(("seconds", "gaps"), [(10.0, 0), (10.000_001, 1)])
def test_a_hole_has_ten_seconds_of_event_time(seconds: float, gaps: int) -> None:
    """From the trade that showed it on; then it is one gap, at that time."""
    validator = checked([tick(0, trade_id=1), tick(1, trade_id=4)])
    for one in (restored(validator), validator):
        assert counted(one, (1 + seconds, 5)) == gaps
        # One of two missing trades is not enough, nor does the other one count again.
        assert counted(one, (1 + seconds, 2), (90, 6)) == 1
    assert validator.gap_ns == START_NS + NS


def test_a_hole_has_64_later_ids() -> None:
    """The last of them makes it a gap; one before that may still fill it."""
    for fills, gaps in ((True, 0), (False, 1)):
        ids = [1, *range(3, 66)]
        validator = checked(tick(n / 1_000, trade_id=n) for n in ids)
        assert validator.gaps == 0
        late = [(0.0, 2)] if fills else []
        assert counted(validator, *late, (0.066, 66)) == gaps
        assert counted(validator, (0.0, 2), (0.067, 67), (20, 68)) == gaps


@pytest.mark.parametrize(("missing", "at_once"), [(64, 0), (65, 1)])
def test_a_large_hole_is_a_gap_at_once(missing: int, at_once: int) -> None:
    """Late trades do not fill an outage."""
    validator = checked([tick(0, trade_id=1), tick(1, trade_id=missing + 2)])
    assert validator.gaps == at_once
    assert counted(validator, (20, missing + 3)) == 1


def test_two_holes_are_two_gaps() -> None:
    """A late trade fills its own hole alone."""
    validator = checked(tick(n, trade_id=2 * n + 1) for n in range(3))
    assert counted(restored(validator), (60, 6)) == 2
    assert counted(validator, (0.5, 4), (60, 6)) == 1


@given(st.lists(st.integers(0, 70), min_size=300, max_size=500), st.integers(0, 400))
def test_memory_is_bounded(steps: list[int], cut: int) -> None:
    """Whatever ids come, only few missing ones are kept, and a restart changes nothing."""
    whole, twin, newest = TickValidator(0), TickValidator(0), 0
    for number, step in enumerate(steps):
        newest += step
        for one in (whole, twin):
            one.check(tick(number / 1_000, trade_id=newest - (number % 3)))
        if number == cut:
            twin = restored(twin)
        holes = whole.dump().get("missing", ())
        assert sum(len(missing) for _, _, missing in holes) <= 128
    assert twin.dump() == whole.dump()
