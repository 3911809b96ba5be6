"""The daily pattern of variance."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from tests.unit.features.diurnal_formula import PatternFormula
from tests.unit.features.records import copied, started
from tests.unit.features.ticks import START_NS
from volsvc.features import MINUTE_NS
from volsvc.features.kernels import diurnal as kernels
from volsvc.features.kernels.diurnal import BINS, DAY_MINUTES, DIURNAL


class Diurnal:
    """A record of DIURNAL."""

    def __init__(self, record: Any = None) -> None:
        self.record = started(DIURNAL, kernels.start) if record is None else record

    def advance(self, minute: int) -> None:
        kernels.advance(self.record, minute)

    def add(self, minute: int, relative: float, silent: float) -> None:
        kernels.add(self.record, minute, relative, silent)

    def factor(self, minute: int) -> float:
        return float(kernels.factor(self.record, minute))

    def mean_ahead(self, minutes: float, horizon: float) -> float:
        return float(kernels.mean_ahead(self.record, minutes, horizon))


def test_factors_follow_the_day_and_are_causal() -> None:
    """Factors have mean 1, follow the variance by time of day, and lag by two days."""
    diurnal = Diurnal()
    first = START_NS // MINUTE_NS // DAY_MINUTES
    for day in range(first, first + 60):
        for minute in range(day * DAY_MINUTES, (day + 1) * DAY_MINUTES):
            diurnal.advance(minute)
            diurnal.add(minute, 2.0 if minute % DAY_MINUTES < 720 else 1.0, 0.0)
    today = (first + 59) * DAY_MINUTES
    factors = [diurnal.factor(today + 30 * b) for b in range(BINS)]
    assert np.mean(factors) == pytest.approx(1.0)
    assert factors[10] / factors[40] == pytest.approx(2.0, rel=0.1)
    assert diurnal.mean_ahead(today, 720) == pytest.approx(np.mean(factors[:24]))
    over_midnight = diurnal.mean_ahead(today + 1410, 60)
    assert over_midnight == pytest.approx((factors[47] + factors[0]) / 2, rel=1e-3)
    other = Diurnal(copied(diurnal.record))
    diurnal.add(today + 700, 1e6, 0.0)
    for each in (diurnal, other):
        each.advance(today + DAY_MINUTES)
    tomorrow = today + DAY_MINUTES + 700
    assert diurnal.factor(tomorrow) == other.factor(tomorrow)
    assert diurnal.factor(tomorrow + DAY_MINUTES) > other.factor(tomorrow + DAY_MINUTES)


def test_factors_against_the_formula() -> None:
    """The factors of each day and of the next are those of the formula, silent minutes included.

    A pattern of the first days fades during a silence of weeks.
    """
    rng, diurnal, formula = random.Random(1), Diurnal(), PatternFormula(first=0)
    for day in (0, 1, 2, 4, 50, 51, 52):
        minute = day * DAY_MINUTES + rng.randrange(5)
        while minute < (day + 1) * DAY_MINUTES:
            relative = rng.choice((0.0, 0.2, 4.0, 1.5)) * (1 + minute % 7)
            silent = rng.choice((0.0, 0.0, 0.5, 1.0, 7.5, 45.0, 3000.0))
            diurnal.advance(minute)
            diurnal.add(minute, relative, silent)
            formula.add(minute, relative, silent)
            minute += rng.choice((1, 1, 2, 13, 29, 30, 31, 90))
        start = day * DAY_MINUTES
        found = [diurnal.factor(start + 30 * b + 29) for b in range(2 * BINS)]
        assert found == pytest.approx(formula.factors(day) + formula.factors(day + 1), rel=1e-9)


def test_means_over_any_horizon() -> None:
    """A mean is that of the factors inside the horizon, up to the very end of tomorrow."""
    diurnal = Diurnal()
    rng = random.Random(2)
    for minute in range(0, 3 * DAY_MINUTES, 30):
        diurnal.advance(minute)
        diurnal.add(minute, rng.uniform(0, 90), 29.0)
    for day in (2, 3, 4):
        diurnal.advance(day * DAY_MINUTES)
        start = day * DAY_MINUTES
        factors = [diurnal.factor(start + minute) for minute in range(2 * DAY_MINUTES)]
        for first, horizon in (
            (0, 1),
            (29.5, 1),
            (100.25, 15),
            (1439, 60),
            (1440, 1440),
            (2879, 1),
        ):
            inside = np.arange(first, first + horizon, 0.25)
            expected = np.mean([factors[int(at)] for at in inside])
            assert diurnal.mean_ahead(start + first, horizon) == pytest.approx(expected, rel=1e-9)


def test_a_new_pattern_is_flat_from_the_epoch_on() -> None:
    """Before the first minute every factor is 1."""
    assert [Diurnal().factor(minute) for minute in (0, 100, 2879)] == [1.0] * 3
    assert Diurnal().mean_ahead(100.5, 60) == pytest.approx(1.0)


@pytest.mark.parametrize("variance", [0.0, 5.0])
def test_bins_whose_weight_has_faded_to_nothing_count_as_flat(variance: float) -> None:
    """Sums that have faded to 0 in decades of silence leave the flat pattern."""
    faded = Diurnal()
    faded.record.day = 0
    faded.record.sums[:] = variance
    if variance:
        faded.record.sums[7] = faded.record.weights[7] = 0.0
    # From then on the pattern of the sums is that of the day.
    faded.advance(DAY_MINUTES)
    today = [faded.factor(DAY_MINUTES + 30 * b) for b in range(BINS)]
    assert today == pytest.approx([1.0] * BINS)


def test_a_flat_pattern_stays_flat_to_the_last_bit() -> None:
    """Days in which every minute has the variance of the level leave every factor at 1."""
    diurnal = Diurnal()
    for minute in range(4 * DAY_MINUTES):
        diurnal.advance(minute)
        diurnal.add(minute, 1.0, 0.0)
    start = 3 * DAY_MINUTES
    assert {diurnal.factor(start + 30 * b) for b in range(2 * BINS)} == {1.0}


def test_the_least_factors_come_out_to_the_last_bit() -> None:
    """The first factor of a day is the one it has, since nothing is summed before it."""
    for least in (0.052, 0.054, 0.056):
        diurnal = Diurnal()
        diurnal.record.today[:] = [least, *[1.0] * (BINS - 2), 2 - least]
        kernels._cumulate(diurnal.record, np.ones(BINS))
        assert diurnal.factor(0) == least
