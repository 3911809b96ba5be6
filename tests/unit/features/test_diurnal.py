"""The daily pattern of variance."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.unit.features.ticks import START_NS
from volsvc.features import MINUTE_NS
from volsvc.features.diurnal import BINS, DAY_MINUTES, Diurnal


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
    other = Diurnal()
    other.restore(json.loads(json.dumps(diurnal.dump())))
    diurnal.add(today + 700, 1e6, 0.0)
    for each in (diurnal, other):
        each.advance(today + DAY_MINUTES)
    tomorrow = today + DAY_MINUTES + 700
    assert diurnal.factor(tomorrow) == other.factor(tomorrow)
    assert diurnal.factor(tomorrow + DAY_MINUTES) > other.factor(tomorrow + DAY_MINUTES)
