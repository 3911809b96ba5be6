"""The publishing grid: one forecast a step of event time, at its first tick."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.ticks import START_NS
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, Tick
from volsvc.features import SymbolState

# Around the ends of steps, to the nanosecond; a tick that goes back waits for its turn.
WAITS = st.sampled_from((0, 1, NS // 10, NS // 4, NS - 1, NS, NS + 1, 10 * NS, 61 * NS, -NS))


@pytest.mark.parametrize("every_s", [0.25, 1.0, 7.0, 60.0])
@given(waits=st.lists(WAITS, min_size=1, max_size=60), restart=st.integers(0, 60))
def test_the_first_tick_of_each_step_is_due(every_s: float, waits: list[int], restart: int) -> None:
    """A tick is due if no tick of its step, or of a later one, came before; also after a restart.

    A state that was asked twice is due once.
    """
    settings = FeatureSettings(publish_every_s=every_s, late_tolerance_s=2.0)
    state, now_ns, step_ns = SymbolState("BTC-USD", settings), START_NS, round(every_s * NS)
    newest = -1
    for index, wait in enumerate(waits):
        now_ns += wait
        state.add(Tick("BTC-USD", now_ns, 100.0, trade_id=index + 1))
        if index == len(waits) - 1:
            state.finish()
        while (applied := state.advance()) is not None:
            step = applied.time_ns // step_ns
            assert state.take_due() is (step > newest)
            assert not state.take_due()
            newest = max(newest, step)
        if index == restart:
            stored = json.loads(json.dumps({**state.dump(), **state.dump_learnt()}))
            state = SymbolState("BTC-USD", settings)
            state.restore(stored)


def test_no_tick_is_no_step() -> None:
    """A state without a tick is never due."""
    assert not SymbolState("BTC-USD", FeatureSettings()).take_due()
