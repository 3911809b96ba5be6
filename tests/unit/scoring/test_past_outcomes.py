"""Realised volatility and EWMAs derived at once, against the daemon's own and against loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.domain import HORIZON_MINUTES
from volsvc.features import FLOOR_PER_MINUTE
from volsvc.features.kernels import realised
from volsvc.scoring.past_outcomes import TradedMinutes, are_due, realised_after
from volsvc.scoring.scores import is_due
from volsvc.scoring.track_record import ewma_after

START = 29_459_520


class Minute(NamedTuple):
    """A minute with trades, and the minutes from the one before it."""

    step: int
    variance: float
    gap: bool
    partial: bool


MINUTES = st.lists(
    st.builds(
        Minute,
        st.one_of(st.just(1), st.integers(1, 70)),
        st.sampled_from((0.0, 1e-9, 3e-8, 2e-4)),
        st.sampled_from((False,) * 9 + (True,)),
        st.sampled_from((False,) * 14 + (True,)),
    ),
    max_size=90,
)


def traded(minutes: Sequence[Minute]) -> TradedMinutes:
    times = START + np.cumsum([one.step for one in minutes], dtype=np.int64)
    _, variances, gaps, partial = zip(*minutes, strict=True) if minutes else [()] * 4
    return TradedMinutes(
        times, np.array(variances, float), np.array(gaps, bool), np.array(partial, bool)
    )


def daemon(minutes: TradedMinutes) -> dict[tuple[int, int], float]:
    """Return RV by last minute and place of the horizon, as the daemon's kernels find it."""
    records = np.zeros(1, realised.REALISED)
    found: dict[tuple[int, int], float] = {}
    record, logs = records[0], np.empty(len(HORIZON_MINUTES))
    realised.start(record)
    for minute, variance, gap, partial in zip(*(part.tolist() for part in minutes), strict=True):
        if partial:
            # A symbol has a minute that was watched in part only where it begins.
            records[:] = 0
            realised.start(record)
            continue
        silent = realised.silent_minutes(record, minute, gap)
        for passed in range(minute - silent, minute + 1):
            own = variance if passed == minute else 0.0
            realised.add(record, passed, own, own, logs)
            found |= {(passed, place): math.exp(log) for place, log in enumerate(logs.tolist())}
    return found


@given(MINUTES)
def test_it_is_what_the_daemon_finds(minutes: list[Minute]) -> None:
    """Every horizon after every minute has the variance of the daemon, or none as there."""
    given_minutes = traded(minutes)
    expected = daemon(given_minutes)
    found = realised_after(given_minutes.minutes, given_minutes.observed(), FLOOR_PER_MINUTE)
    for row, minute in zip(found, given_minutes.minutes.tolist(), strict=True):
        for place, horizon in enumerate(HORIZON_MINUTES):
            own = expected.get((minute + horizon, place), math.nan)
            assert row[place] == pytest.approx(own, rel=1e-12, nan_ok=True)


@given(MINUTES)
def test_it_is_what_a_loop_finds(minutes: list[Minute]) -> None:
    """RV is the sum over the minutes of a horizon, all of which were observed."""
    given_minutes = traded(minutes)
    variances: dict[int, float] = {}
    before: int | None = None
    for minute, variance, gap, partial in zip(
        *(part.tolist() for part in given_minutes), strict=True
    ):
        if not (gap or partial or before is None or minute - before > 60):
            variances |= dict.fromkeys(range(before + 1, minute), 0.0)
        if not partial:
            variances[minute] = variance
        before = None if partial else minute
    # Two minutes next to each other may still be of two lives of a symbol.
    begun = {
        m for m, gap in zip(given_minutes.minutes.tolist(), given_minutes.gaps, strict=True) if gap
    }
    found = realised_after(given_minutes.minutes, given_minutes.observed(), FLOOR_PER_MINUTE)
    for row, minute in zip(found, given_minutes.minutes.tolist(), strict=True):
        for place, horizon in enumerate(HORIZON_MINUTES):
            passed = range(minute + 1, minute + horizon + 1)
            whole = set(passed) <= set(variances) and not begun & set(passed[1:])
            total = math.fsum(variances.get(one, 0.0) for one in passed)
            expected = max(total, FLOOR_PER_MINUTE * horizon) if whole else math.nan
            assert row[place] == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_forecasts_are_due_as_in_the_daemon() -> None:
    """A forecast is scored at the minutes at which the daemon issues it."""
    minutes = np.arange(START, START + 120)
    expected = [
        [is_due(m, place) for place in range(len(HORIZON_MINUTES))] for m in minutes.tolist()
    ]
    assert are_due(minutes).tolist() == expected


@given(MINUTES, st.sampled_from((5, 60, 1440)))
def test_an_ewma_is_a_weighted_mean(minutes: list[Minute], half_life: int) -> None:
    """Each observed minute weighs half as much after a half-life of observed minutes."""
    given_minutes = traded(minutes)
    observed = given_minutes.observed()
    found = ewma_after(given_minutes.minutes, observed, half_life)
    series: list[float] = []
    ends: dict[int, int] = {}
    for minute, variance, breaks in zip(*(part.tolist() for part in observed[:3]), strict=True):
        if series and not breaks:
            series += [0.0] * (minute - max(ends) - 1)
        series.append(variance)
        ends[minute] = len(series)
    for minute, value in zip(given_minutes.minutes.tolist(), found.tolist(), strict=True):
        seen = series[: max((ends[m] for m in ends if m <= minute), default=0)]
        weights = [2.0 ** ((place - len(seen)) / half_life) for place in range(len(seen))]
        total = math.fsum(w * v for w, v in zip(weights, seen, strict=True))
        expected = total / math.fsum(weights) if seen else math.nan
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-30, nan_ok=True)


def test_an_ewma_of_many_days_stays_exact() -> None:
    """Powers of the decay over weeks leave the range of doubles."""
    minutes = [Minute(1, 1e-8 * (1 + day % 3), False, False) for day in range(15_000)]
    given_minutes = traded(minutes)
    found = ewma_after(given_minutes.minutes, given_minutes.observed(), 5)
    decay, value = 2.0**-0.2, 0.0
    for place, one in enumerate(minutes):
        value = decay * value + (1 - decay) * one.variance
        assert found[place] == pytest.approx(value / (1 - decay ** (place + 1)), rel=1e-9)
