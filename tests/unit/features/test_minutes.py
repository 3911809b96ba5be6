"""The minutes of ticks against the whole grid of prices."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.one_symbol import OneSymbol
from tests.unit.features.records import started
from tests.unit.features.ticks import START_NS
from volsvc.domain import NS, Tick
from volsvc.features import MINUTE_NS
from volsvc.features.kernels import minutes
from volsvc.features.kernels.minutes import (
    BAR,
    CURRENT_MINUTE,
    GRID_NS,
    MIN_FRACTION,
    bars_of_prices,
    parkinson,
)
from volsvc.features.kernels.points import MINUTE


class Bar(NamedTuple):
    """The fields of BAR."""

    minute: int
    close: float
    high: float
    low: float
    variance: float
    down: float
    volume: float
    returns: float
    open: float
    ticks: int


class Minutes:
    """The minutes of a symbol's ticks."""

    def __init__(self) -> None:
        self._one = OneSymbol(bad_print_sigmas=0)
        self._count = 0

    def push(self, time_ns: int, price: float, size: float) -> tuple[Bar, float] | None:
        """Apply a tick; return the minute that it ends and the part of it that was observed."""
        self._count += 1
        item = Tick("BTC-USD", time_ns, price, size=size, trade_id=self._count)
        points = [point for point in self._one.apply_one(item).points if point.kind == MINUTE]
        if not points:
            return None
        (point,) = points
        return Bar(*point.bar.item()), point.observed

    @property
    def current(self) -> Any:
        """The minute under way (CURRENT_MINUTE)."""
        return self._one.ticks.minute

    def pending(self, time_ns: int) -> tuple[Bar, float] | None:
        """Return the minute under way and the part of it that has passed."""
        bar = np.zeros(1, BAR)[0]
        fraction = minutes.pending(self.current, time_ns, bar)
        return (Bar(*bar.item()), fraction) if fraction else None


ticks = st.lists(
    st.tuples(st.floats(0, 40), st.floats(90, 110), st.floats(0, 5)), min_size=2, max_size=80
)


Seen = list[tuple[int, float, float]]


def expected_bar(seen: Seen, until_ns: int) -> Bar:
    """Return the minute of the newest of the ticks seen until a time, from all of them."""
    known = [one for one in seen if one[0] <= until_ns]
    first, last = known[0][0] // GRID_NS, known[-1][0] // GRID_NS
    minute = known[-1][0] // MINUTE_NS
    # A grid step holds the last price before its end.
    held = [[p for t, p, _ in known if t // GRID_NS <= step][-1] for step in range(first, last + 1)]
    moves = [math.log(b / a) for a, b in zip([known[0][1], *held], held, strict=False)]
    steps = range(first, last + 1)
    inside = [
        r for step, r in zip(steps, moves, strict=True) if step * GRID_NS // MINUTE_NS == minute
    ]
    of_minute = [(t // GRID_NS, p, s) for t, p, s in known if t // MINUTE_NS == minute]
    prices = [p for _, p, _ in of_minute]
    return Bar(
        minute,
        prices[-1],
        max(prices),
        min(prices),
        math.fsum(r * r for r in inside),
        math.fsum(r * r for r in inside if r < 0),
        math.fsum(s for _, _, s in of_minute),
        # Steps without ticks bring no return.
        float(len({step for step, _, _ in of_minute})),
        prices[0],
        len(prices),
    )


@given(ticks)
def test_minutes_against_the_whole_grid(steps: list[tuple[float, float, float]]) -> None:
    """Each minute, ended or pending, is that of the previous-tick grid over all ticks."""
    at, made, seen = 0.0, Minutes(), Seen()
    for gap, price, size in steps:
        at += gap
        time_ns = START_NS + round(at * NS)
        over = made.push(time_ns, price, size)
        if over is not None:
            bar, observed = over
            assert bar == pytest.approx(expected_bar(seen, time_ns), rel=1e-9, abs=1e-12)
            whole = bar.minute > START_NS // MINUTE_NS or seen[0][0] % MINUTE_NS == 0
            first_part = 1 - seen[0][0] % MINUTE_NS / MINUTE_NS
            part = max(first_part, MIN_FRACTION)
            assert observed == pytest.approx(1.0 if whole else part, abs=1e-7)
        seen.append((time_ns, price, size))
        if len(seen) % 11 == 3:
            assert_pending(made, seen)


def assert_pending(made: Minutes, seen: Seen) -> None:
    newest = seen[-1][0]
    bar, fraction = made.pending(newest) or pytest.fail("no minute is pending")
    assert bar == pytest.approx(expected_bar(seen, newest), rel=1e-9, abs=1e-12)
    passed = min(newest % MINUTE_NS, newest - seen[0][0]) / MINUTE_NS
    assert fraction == pytest.approx(max(passed, MIN_FRACTION), abs=1e-7)


def test_a_first_minute_is_observed_from_its_first_tick_on() -> None:
    """A symbol that starts 45 s into a minute has a quarter of it, and whole minutes after it."""
    made = Minutes()
    made.push(START_NS + 45 * NS, 100.0, 1.0)
    _, first = made.push(START_NS + 61 * NS, 101.0, 1.0) or pytest.fail("no minute ended")
    _, second = made.push(START_NS + 121 * NS, 101.0, 1.0) or pytest.fail("no minute ended")
    assert (first, second) == pytest.approx((0.25, 1.0))


def test_a_first_tick_at_the_very_end_of_a_minute() -> None:
    """A minute that was observed for a nanosecond has a part of it to divide by."""
    made = Minutes()
    made.push(START_NS + MINUTE_NS - 1, 100.0, 1.0)
    _, observed = made.push(START_NS + MINUTE_NS, 101.0, 1.0) or pytest.fail("no minute ended")
    assert observed == MIN_FRACTION


def test_the_current_minute_is_pending_from_the_first_tick_on() -> None:
    """No minute is pending without ticks; the first one is for a minute, wherever it began."""
    made = Minutes()
    assert made.pending(START_NS) is None
    assert minutes.is_first(made.current, START_NS)
    made.push(START_NS + 30 * NS, 100.0, 1.0)
    assert made.pending(START_NS + 30 * NS) is not None
    assert minutes.is_first(made.current, START_NS + 90 * NS - 1)
    assert not minutes.is_first(made.current, START_NS + 90 * NS)


@pytest.mark.parametrize(("at_s", "returns"), [(60, 1.0), (64, 1.0), (65, 2.0), (90, 2.0)])
def test_the_current_minute_counts_its_open_step(at_s: int, returns: float) -> None:
    """Returns of a pending minute are those of the steps with ticks, the last one included."""
    made = Minutes()
    for second in (0, 60, at_s):
        made.push(START_NS + second * NS, 100.0, 1.0)
    made.push(START_NS + at_s * NS, 101.0, 1.0)
    bar, _ = made.pending(START_NS + at_s * NS) or pytest.fail("no minute is pending")
    assert bar.returns == returns


def test_nothing_is_known_before_the_first_tick() -> None:
    """All is zero then, but for the time of the first tick."""
    current: Any = started(CURRENT_MINUTE, minutes.start)
    assert current.first_ns == -1
    current.first_ns = 0
    assert not any(current.tobytes())


@pytest.mark.parametrize(
    ("high", "low", "expected"), [(8.0, 1.0, 9 * math.log(2) / 4), (2.0, 2.0, 0.0), (1.0, 2.0, 0.0)]
)
def test_variance_of_a_range(high: float, low: float, expected: float) -> None:
    """It is Parkinson's (ln high/low)**2 / (4 ln 2), and 0 where the range has no width."""
    assert parkinson(high, low) == pytest.approx(expected)


@pytest.mark.parametrize("previous", [math.nan, 50.0, 100.0, 200.0])
def test_a_recorded_bar_has_the_return_from_close_to_close(previous: float) -> None:
    """Its variance is that of one return: from the close before, or from the first bar's open."""
    prices = np.array([(80.0, 90.0, 85.0, 100.0, 3.0)])
    if not math.isnan(previous):
        prices = np.vstack(((previous,) * 5, prices))
    bars = np.zeros(len(prices), BAR)
    bars_of_prices(np.arange(8 - len(prices), 8), prices, math.nan, bars)
    start = 80.0 if math.isnan(previous) else previous
    square = math.log(100.0 / start) ** 2
    down = square if start > 100.0 else 0.0
    # The close lies outside the recorded range here, and widens it.
    expected = Bar(7, 100.0, 100.0, 85.0, square, down, 3.0, 1.0, 80.0, 0)
    assert bars[-1].item() == pytest.approx(expected)
