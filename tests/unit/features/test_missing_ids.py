"""Holes in the trade ids: filled by late trades, or gaps of the feed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.one_symbol import OneSymbol
from tests.unit.features.ticks import START_NS, tick
from volsvc.domain import NS, Tick


def checked(ticks: Iterable[Tick]) -> OneSymbol:
    one = OneSymbol()
    for item in ticks:
        one.apply(item)
    return one


def counted(one: OneSymbol, *ticks: tuple[float, int]) -> int:
    """Return the number of gaps after more ticks, given by seconds and trade id."""
    for at, trade_id in ticks:
        one.apply(tick(at, trade_id=trade_id))
    return int(one.check.gaps)


def missing(one: OneSymbol) -> int:
    """Return the number of ids that may still come, of all holes."""
    check = one.check
    return int(np.bitwise_count(check.hole["missing"][: check.holes]).sum())


def test_a_late_trade_fills_its_hole() -> None:
    """Trades 1, 2, 4 and then 3 are all, however old they become."""
    known = checked(tick(at, trade_id=n) for at, n in ((0, 1), (1, 2), (1.2, 4)))
    for one in (known, known.restored()):
        assert counted(one, (0.5, 3), (1.5, 5), (100, 6), (101, 7)) == 0
        assert missing(one) == 0


@pytest.mark.parametrize(("seconds", "gaps"), [(10.0, 0), (10.000_001, 1)])
def test_a_hole_has_ten_seconds_of_event_time(seconds: float, gaps: int) -> None:
    """From the trade that showed it on; then it is one gap, at that time."""
    known = checked([tick(0, trade_id=1), tick(1, trade_id=4)])
    for one in (known.restored(), known):
        assert counted(one, (1 + seconds, 5)) == gaps
        # One of two missing trades is not enough, nor does the other one count again.
        assert counted(one, (1 + seconds, 2), (90, 6)) == 1
    assert known.check.gap_ns == START_NS + NS


def test_a_hole_has_64_later_ids() -> None:
    """The last of them makes it a gap; one before that may still fill it."""
    for fills, gaps in ((True, 0), (False, 1)):
        ids = [1, *range(3, 66)]
        known = checked(tick(n / 1_000, trade_id=n) for n in ids)
        assert known.check.gaps == 0
        late = [(0.0, 2)] if fills else []
        assert counted(known, *late, (0.066, 66)) == gaps
        assert counted(known, (0.0, 2), (0.067, 67), (20, 68)) == gaps


@pytest.mark.parametrize(("lost", "at_once"), [(64, 0), (65, 1)])
def test_a_large_hole_is_a_gap_at_once(lost: int, at_once: int) -> None:
    """Late trades do not fill an outage."""
    known = checked([tick(0, trade_id=1), tick(1, trade_id=lost + 2)])
    assert known.check.gaps == at_once
    assert counted(known, (20, lost + 3)) == 1


def test_two_holes_are_two_gaps() -> None:
    """A late trade fills its own hole alone."""
    known = checked(tick(n, trade_id=2 * n + 1) for n in range(3))
    assert counted(known.restored(), (60, 6)) == 2
    assert counted(known, (0.5, 4), (60, 6)) == 1


@given(st.lists(st.integers(0, 70), min_size=300, max_size=500), st.integers(0, 400))
def test_memory_is_bounded(steps: list[int], cut: int) -> None:
    """Whatever ids come, only few missing ones are kept, and a restart changes nothing."""
    whole, twin, newest, ticks = OneSymbol(), OneSymbol(), 2, []
    for number, step in enumerate(steps):
        newest += step
        ticks.append(tick(number / 1_000, trade_id=newest - number % 3))
    for first in range(0, len(ticks), 20):
        whole.apply_all(ticks[first : first + 20])
        assert missing(whole) <= 128
    twin.apply_all(ticks[:cut])
    twin = twin.restored()
    twin.apply_all(ticks[cut:])
    assert twin.stored() == whole.stored()
