"""The publishing grid: one forecast a step of event time, at its first tick."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.applied import finish
from tests.unit.features.one_symbol import OneSymbol, due
from tests.unit.features.ticks import START_NS
from volsvc.domain import NS, Tick

# Around the ends of steps, to the nanosecond; a tick that goes back waits for its turn.
WAITS = st.sampled_from((0, 1, NS // 10, NS // 4, NS - 1, NS, NS + 1, 10 * NS, 61 * NS, -NS))


@pytest.mark.parametrize("every_s", [0.25, 1.0, 7.0, 60.0])
@given(waits=st.lists(WAITS, min_size=1, max_size=60), restart=st.integers(0, 60))
def test_the_first_tick_of_each_step_is_due(every_s: float, waits: list[int], restart: int) -> None:
    """A tick is due if no tick of its step, or of a later one, came before; also after a restart.

    It is due once.
    """
    one = OneSymbol(publish_every_s=every_s, late_tolerance_s=2.0)
    now_ns, step_ns = START_NS, round(every_s * NS)
    newest = -1
    for index, wait in enumerate(waits):
        now_ns += wait
        parts = [one.apply_one(Tick("BTC-USD", now_ns, 100.0, trade_id=index + 1))]
        if index == len(waits) - 1:
            parts.append(finish(one.table))
        for applied in parts:
            expected = []
            for row in applied.rows:
                step = row.time_ns // step_ns
                if step > newest:
                    expected.append(row.time_ns)
                newest = max(newest, step)
            assert due(applied) == expected
        if index == restart:
            one = one.restored()


def test_no_tick_is_no_step() -> None:
    """A state without a tick is never due."""
    assert due(finish(OneSymbol(late_tolerance_s=2.0).table)) == []
