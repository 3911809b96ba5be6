"""SymbolState: updates, dump and restore."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.applied import apply
from tests.unit.features.laws import normal_laws
from tests.unit.features.test_forecast_history import outcome, snapshot
from tests.unit.features.ticks import START_NS, tick
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, Tick
from volsvc.domain.float_codec import pack
from volsvc.features import (
    SCALE_NAMES,
    MinuteBuilder,
    MinuteState,
    RealisedAtMinute,
    StateError,
    SymbolState,
    TickStatus,
)

SMALL = FeatureSettings(window_size=5)

moves = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1e-9, 0.2, 1.0, 5.0, 7.5, 61.0, -0.5]),
        st.sampled_from([100.0, 100.01, 100.02, 99.0, 1e6]),
        st.none() | st.integers(1, 40),
    ),
    max_size=60,
)


def ticks_of(steps: Sequence[tuple[float, float, int | None]]) -> list[Tick]:
    at, ticks = 0.0, []
    for step, price, trade_id in steps:
        at = max(0.0, at + step)
        ticks.append(tick(at, price, trade_id=trade_id))
    return ticks


@given(moves, st.integers(0, 60))
def test_a_restored_state_continues_exactly(
    steps: list[tuple[float, float, int | None]], cut: int
) -> None:
    """A state restored from JSON gives the same rows and counts as the original."""
    ticks = ticks_of(steps)
    whole, first = SymbolState("BTC-USD", SMALL), SymbolState("BTC-USD", SMALL)
    for item in ticks[:cut]:
        apply(whole, item)
        apply(first, item)
        assert whole.take_due() == first.take_due()
    second = SymbolState("BTC-USD", SMALL)
    second.restore(json.loads(json.dumps(first.dump())))
    # NaN differs from itself, so rows are compared as they are written.
    assert repr(second.row) == repr(whole.row)
    for item in ticks[cut:]:
        assert apply(second, item) is apply(whole, item)
        assert second.take_due() == whole.take_due()
        assert repr(second.row) == repr(whole.row)
    assert second.quality() == whole.quality()
    assert json.dumps(second.dump()) == json.dumps(whole.dump())


@given(moves)
def test_repeated_and_late_ticks_change_nothing(
    steps: list[tuple[float, float, int | None]],
) -> None:
    """A stream with every tick delivered twice gives the rows of the original stream."""
    clean, doubled = SymbolState("BTC-USD", SMALL), SymbolState("BTC-USD", SMALL)
    for item in ticks_of(steps):
        status = apply(clean, item)
        assert apply(doubled, item) is status
        again = apply(doubled, item)
        # A late tick without an id is late again, since it was not remembered.
        assert again is (TickStatus.LATE if status is TickStatus.LATE else TickStatus.DUPLICATE)
        assert repr(doubled.row) == repr(clean.row)


def test_a_state_that_does_not_fit_is_refused() -> None:
    """A state of another version or window size raises StateError."""
    state = SymbolState("BTC-USD", SMALL)
    apply(state, tick(0))
    for change, detail in (
        ({"v": 99}, "version 99 is not 3"),
        ({"window_size": 6}, "window of 6 is not 5"),
    ):
        with pytest.raises(StateError, match=detail):
            SymbolState("BTC-USD", SMALL).restore({**state.dump(), **change})


def test_later_ticks_do_not_change_a_dump() -> None:
    """A dump stays the state after its tick while the rest of the batch is added."""
    state = SymbolState("BTC-USD", FeatureSettings(window_size=5))
    apply(state, tick(0))
    dumped = state.dump()
    before = json.dumps(dumped)
    for at in range(1, 200):
        apply(state, tick(at, 100.0 + at))
    assert json.dumps(dumped) == before


def test_ticks_far_ahead_of_their_publication_are_refused() -> None:
    """Such ticks are counted and change nothing; those of a fast replay are accepted."""
    state = SymbolState("BTC-USD", SMALL)
    assert apply(state, tick(0), START_NS) is TickStatus.NEW
    before = state.row
    assert apply(state, tick(61), START_NS) is TickStatus.FUTURE
    assert apply(state, tick(61), START_NS) is TickStatus.FUTURE
    assert state.row == before
    assert state.quality().future == 2
    # Ten times real time: each tick is near the one before it, and far ahead of its stamp.
    for at in range(1, 200):
        assert apply(state, tick(at), START_NS + at * NS // 10) is TickStatus.NEW
    assert state.quality().ticks == 200


def test_the_stored_form_of_a_state_without_ticks() -> None:
    """It is the same as long as the version of the state is: other releases read it."""
    pattern, zeros = pack([5.0] * 48), pack([0.0] * 48)
    assert SymbolState("BTC-USD", SMALL).dump() == {
        "v": 3,
        "window_size": 5,
        "partition": 0,
        "offset": -1,
        "prices": [],
        "times": [],
        "step": -1,
        "minutes": [None, 0, 0, pack([0.0] * 8)],
        "engine": {
            "minute": None,
            "scalars": pack([math.nan, 0.0, 0.0]),
            "sums": pack([0.0] * 45),
            "diurnal": [None, pattern, pattern, pack([1.0] * 48), zeros, zeros],
        },
        "outcomes": {
            "minute": -1,
            "watched": 0,
            "variances": pack([0.0] * 60),
            "usual": [[0, 1.0, [], ""]] * 4,
        },
        "order": {
            "last_ns": None,
            "last_trade_id": None,
            "recent": [],
            "same_time": [],
            "counts": [0, 0, 0, 0, 0],
        },
    }


def test_ended_minutes_and_scales_are_those_of_the_ticks() -> None:
    """The minutes that a state hands on, and its features, are those of its builder's bars."""
    state, builder, minutes = SymbolState("BTC-USD", SMALL), MinuteBuilder(), MinuteState()
    assert np.isnan(state.scales()).all()
    for count in range(60):
        at = 20.0 + 7.5 * count
        item = tick(at, 100.0 + count % 5, size=None if count % 3 else 2.0)
        apply(state, item)
        ended = builder.push(item.time_ns, item.price, item.size or 0.0)
        if ended is not None:
            minutes.close(ended[0], ended[0].variance, ended[1])
        pending = builder.pending(item.time_ns)
        expected = np.full(len(SCALE_NAMES), np.nan)
        if pending is not None:
            bar, fraction = pending
            expected = minutes.multiscale.row(bar.minute, fraction, bar)
        assert state.scales().tobytes() == expected.tobytes()
    found, known = state.minutes.take_ended(), minutes.take_ended()
    assert len(known) == 7
    assert [repr(end) for end in found] == [repr(end) for end in known]
    assert state.minutes.take_ended() == []


def test_quality_counts_the_feed() -> None:
    """Each count has its own field; the verdict is ok after a day with a full window."""
    state = SymbolState("BTC-USD", SMALL)
    for trade_id, at in ((1, 0), (2, 1), (2, 1), (9, 2), (15, 90), (15, 90), (16, 10), (2, 1)):
        apply(state, tick(at, trade_id=trade_id))
    quality = state.quality()
    assert (quality.gaps, quality.duplicates, quality.late, quality.ticks) == (1, 3, 1, 4)
    assert (quality.fill_ratio, quality.verdict) == (0.75, "warming")
    apply(state, tick(91, trade_id=17))
    assert (state.quality().fill_ratio, state.quality().verdict) == (1.0, "warming")
    for minute in range(2, 1442):
        apply(state, tick(60.0 * minute, trade_id=16 + minute))
    assert state.quality().verdict == "ok"
    assert SymbolState("BTC-USD", SMALL).quality().verdict == "warming"


def test_a_long_history_in_a_short_window_is_still_warming() -> None:
    """After a day of ticks the verdict waits for the window to fill."""
    state = SymbolState("BTC-USD", FeatureSettings(window_size=5_000))
    for minute in range(1443):
        apply(state, tick(60.0 * minute))
    assert state.minutes.warm
    assert state.quality().verdict == "warming"


def test_what_was_learnt_survives_a_restart() -> None:
    """Calibrations, scores and the digest are restored from JSON; nothing else is learnt."""
    state = SymbolState("BTC-USD", SMALL)
    apply(state, tick(0))
    calibration = state.calibrations.get("ml", "a", normal_laws())
    for minute in range(100):
        calibration.add_realised(RealisedAtMinute(minute, (0.5,) * 4))
        calibration.issue(minute, (0.0,) * 4, (0.3,) * 4)
    state.scores.issue("ml", "a", "1", [outcome(100).issued])
    state.digest.add_forecast(snapshot(0))
    learnt = json.loads(json.dumps(state.dump_learnt()))
    assert set(learnt) == {"calibrations", "scores", "digest"}
    other = SymbolState("BTC-USD", SMALL)
    empty = json.loads(json.dumps(other.dump_learnt()))
    assert all(learnt[name] != empty[name] for name in learnt)
    other.restore({**state.dump(), **learnt})
    assert json.loads(json.dumps(other.dump_learnt())) == learnt


def test_a_state_without_what_was_learnt_is_restored() -> None:
    """The part that changes with ticks is enough to go on from."""
    state, other = SymbolState("BTC-USD", SMALL), SymbolState("BTC-USD", SMALL)
    apply(state, tick(0))
    other.restore(state.dump())
    assert other.dump_learnt() == SymbolState("BTC-USD", SMALL).dump_learnt()


def test_a_state_keeps_as_many_forecasts_as_rows() -> None:
    """`features.history` bounds the forecasts and outcomes that are kept as well."""
    state = SymbolState("BTC-USD", FeatureSettings(history=3))
    for step in range(5):
        state.forecast_history.add_forecast(snapshot(10.0 * step))
        state.forecast_history.add_outcomes([outcome(step)])
    assert len(state.forecast_history.forecasts(99)) == 3
    assert len(state.forecast_history.outcomes(99)) == 3
