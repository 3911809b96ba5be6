"""MinuteState: the minutes that have ended, with their features and realised variances."""

from __future__ import annotations

import json

import pytest

from volsvc.features import MinuteBar, MinuteState, MultiScale, RealisedVariances

START = 29_459_520


def bar(minute: int) -> MinuteBar:
    price = 100.0 + minute % 7
    return MinuteBar(minute, price, price + 1, price - 1, 1e-6 * (1 + minute % 3), 5e-7, 1.0)


def test_an_ended_minute_has_all_that_follows_from_it() -> None:
    """Features, realised variances and thresholds are those after the minute, oldest first.

    A first minute that was seen in part has no realised variance, and a gap is no silence.
    """
    state, scales, realised = MinuteState(), MultiScale(), RealisedVariances()
    minutes = [*range(START, START + 70), START + 72, *range(START + 120, START + 140)]
    for minute in minutes:
        observed = 0.25 if minute == START else 1.0
        state.close(bar(minute), 2e-6, observed)
    ended = state.take_ended()
    assert [end.bar for end in ended] == [bar(minute) for minute in minutes]
    for end in ended:
        minute = end.bar.minute
        scales.push(end.bar, 0.25 if minute == START else 1.0)
        assert end.scales.tobytes() == scales.row(minute).tobytes()
        expected = []
        if minute > START:
            gap = minute == START + 120
            expected = realised.close(minute, end.bar.variance, 2e-6, gap=gap)
        assert repr(end.realised) == repr(expected)
        assert repr(end.log_thresholds) == repr(realised.log_thresholds)
        assert end.counts == realised.counts
    assert state.take_ended() == []


def test_a_minute_is_observed_as_a_whole_by_default() -> None:
    """A recorded bar is a whole minute, with a realised variance."""
    state = MinuteState()
    state.close(bar(START), 1e-6)
    (end,) = state.take_ended()
    assert len(end.realised) == 1
    assert state.multiscale.elapsed == 1.0


@pytest.mark.parametrize(("minutes", "warm"), [(1439, False), (1440, True)])
def test_a_day_of_minutes_is_warm(minutes: int, warm: bool) -> None:
    """A symbol is warm after a day; a stored state is as warm as the original."""
    state, other = MinuteState(), MinuteState()
    for minute in range(START, START + minutes):
        state.close(bar(minute), 1e-6)
    other.restore(json.loads(json.dumps(state.dump())))
    assert (state.warm, other.warm) == (warm, warm)


def test_a_dump_follows_each_minute() -> None:
    """A dump is that of the newest minute, though it is kept in between."""
    state = MinuteState()
    state.close(bar(START), 1e-6)
    before = state.dump()
    assert state.dump() is before
    state.close(bar(START + 1), 1e-6)
    assert state.dump()["engine"]["minute"] == START + 1
