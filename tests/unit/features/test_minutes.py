"""MinuteBuilder against the whole grid of prices."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.ticks import START_NS
from volsvc.domain import NS
from volsvc.features import MINUTE_NS, MinuteBuilder
from volsvc.features.minutes import GRID_NS

ticks = st.lists(
    st.tuples(st.floats(0, 40), st.floats(90, 110), st.floats(0, 5)), min_size=2, max_size=80
)


@given(ticks)
def test_minutes_against_the_whole_grid(steps: list[tuple[float, float, float]]) -> None:
    """A minute's variance is the sum of squared returns on the previous-tick grid inside it."""
    at, builder, built, seen = 0.0, MinuteBuilder(), {}, []
    for gap, price, size in steps:
        at += gap
        time_ns = START_NS + round(at * NS)
        seen.append((time_ns, price, size))
        over = builder.push(time_ns, price, size)
        if over is not None:
            built[over[0].minute] = over[0]
    first, last = seen[0][0] // GRID_NS, seen[-1][0] // GRID_NS
    # A grid step holds the last price before its end.
    held = [[p for t, p, _ in seen if t // GRID_NS <= step][-1] for step in range(first, last)]
    returns = [math.log(b / a) for a, b in zip([seen[0][1], *held], held, strict=False)]
    for minute, bar in built.items():
        inside = [p for t, p, _ in seen if t // MINUTE_NS == minute]
        moves_inside = [
            r for step, r in enumerate(returns, first) if step * GRID_NS // MINUTE_NS == minute
        ]
        assert bar.variance == pytest.approx(math.fsum(r * r for r in moves_inside), abs=1e-12)
        assert (bar.close, bar.high, bar.low) == (inside[-1], max(inside), min(inside))
        sizes = [s for t, _, s in seen if t // MINUTE_NS == minute]
        assert bar.volume == pytest.approx(math.fsum(sizes))
