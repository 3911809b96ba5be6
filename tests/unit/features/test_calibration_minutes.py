"""Calibration: a forecast is judged by the minutes of its horizon, and by no others.

The forecaster knows the future: each of its forecasts is off by the same residual. So a symbol's
laws move to the bin of that residual alone, unless a forecast is judged by other minutes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.unit.features.laws import Calibrated, normal_laws
from tests.unit.features.records import close_minute, copied, started
from volsvc.features import FLOOR_PER_MINUTE, HORIZON_MINUTES, ResidualLaws
from volsvc.features.kernels import realised
from volsvc.features.kernels.calibration import PRIOR
from volsvc.features.kernels.realised import REALISED

START = 29_459_520
BIN = 20
LAWS = normal_laws()
RESIDUALS = [float(law.quantiles[BIN : BIN + 2].mean()) for law in LAWS]
# Far from the residual, wherever a forecast is wrong.
WRONG = 40.0


@dataclass
class Market:
    """Minutes with trades: their variances, and the silent minutes that no gap of the feed hides.

    `gaps` are the minutes with trades that follow a gap.
    """

    variances: dict[int, float] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    gaps: set[int] = field(default_factory=set)

    def realised(self, minute: int, horizon: int) -> float | None:
        """Return RV over the `horizon` minutes after a minute; None if one was not observed."""
        total = 0.0
        for ahead in range(minute + 1, minute + horizon + 1):
            if ahead not in self.variances and ahead not in self.silent:
                return None
            total += self.variances.get(ahead, 0.0)
        return max(total, FLOOR_PER_MINUTE * horizon)


def market(seed: int, minutes: int = 400) -> Market:
    """Return an irregular series: minutes in a row, silent ones, and gaps of any length.

    The first minute is not observed as a whole; in half of the series a gap follows it.
    """
    rng, made, minute = random.Random(seed), Market({START: 1e-6}), START
    for count in range(minutes):
        step = rng.choice((1, 1, 1, 1, 1, 2, 3, 9))
        if rng.random() < 0.03 or (count == 0 and seed % 2):
            step = rng.choice((2, 3, 5, 6, 16, 60, 61, 62, 75, 400))
            made.gaps.add(minute + step)
        elif rng.random() < 0.02:
            step = rng.choice((59, 60, 61, 62))
        # An hour of silence is as good as a gap, and so is any before the first whole minute.
        if count and minute + step not in made.gaps and step <= 60:
            made.silent.update(range(minute + 1, minute + step))
        minute += step
        made.variances[minute] = math.exp(rng.gauss(-13, 3))
    return made


class Foresight:
    """Forecasts that are off by RESIDUALS, and `weights`, those of what has to be learnt from them.

    `weights` are of calm and of turbulence, at each horizon.
    """

    def __init__(self, made: Market) -> None:
        self.weights = [[0.0, 0.0] for _ in HORIZON_MINUTES]
        self._market = made
        self._rng = random.Random(1)
        # Turbulence by the minute in which a forecast matures.
        self._pending: list[dict[int, float]] = [{} for _ in HORIZON_MINUTES]

    def judge(self, minute: int) -> None:
        """Count the forecasts that mature at the end of a minute."""
        for weights, pending in zip(self.weights, self._pending, strict=True):
            if minute in pending:
                turbulence = pending.pop(minute)
                weights[0] += 1 - turbulence
                weights[1] += turbulence

    def forecasts(self, minute: int) -> tuple[list[float], list[float]]:
        """Return the logarithms of the forecasts made at the end of a minute, and turbulences."""
        logs, turbulences = [], [self._rng.random() for _ in HORIZON_MINUTES]
        for index, horizon in enumerate(HORIZON_MINUTES):
            future = self._market.realised(minute, horizon)
            if future is not None:
                self._pending[index][minute + horizon] = turbulences[index]
            logs.append(WRONG if future is None else math.log(future) - RESIDUALS[index])
        return logs, turbulences


def calibrate(
    made: Market, away: Iterable[int], restarts: Iterable[int]
) -> tuple[Calibrated, Foresight]:
    """Forecast and learn at the end of each minute with trades.

    The model is not held in the minutes `away`, and the calibration restarts after `restarts`.
    """
    calibration, past = Calibrated("digest", LAWS), started(REALISED, realised.start)
    foresight = Foresight(made)
    for minute, variance in made.variances.items():
        gap, closed = minute in made.gaps, []
        if minute > START:
            closed = close_minute(past, minute, variance, variance, gap=gap)
        if minute in away:
            continue
        for ended, logs in closed:
            calibration.add_realised(ended, logs)
            foresight.judge(ended)
        calibration.issue(minute, *foresight.forecasts(minute))
        if minute in restarts:
            calibration = Calibrated("digest", LAWS, copied(calibration.record))
    return calibration, foresight


def expected_laws(pooled: ResidualLaws, index: int, weights: list[float]) -> list[np.ndarray]:
    """Return the masses of both laws after residuals of these weights in the one bin."""
    masses = []
    for law, weight in zip(np.diff(pooled.cumulated, axis=1), weights, strict=True):
        mass = PRIOR[index] * law
        mass[BIN] += weight
        masses.append(mass / (PRIOR[index] + weight))
    return masses


def assert_judged(calibration: Calibrated, foresight: Foresight) -> None:
    for index, weights in enumerate(foresight.weights):
        found = np.diff(calibration.cumulated(index), axis=1)
        np.testing.assert_allclose(found, expected_laws(LAWS[index], index, weights), rtol=1e-9)


def spans(rng: random.Random, minutes: list[int], count: int) -> Iterator[int]:
    """Yield the minutes with trades of some spans of any length."""
    for _ in range(count):
        first = rng.randrange(len(minutes))
        yield from minutes[first : first + rng.choice((1, 2, 7, 40))]


@pytest.mark.parametrize("seed", range(8))
def test_a_forecast_is_judged_by_the_minutes_after_it(seed: int) -> None:
    """Each horizon learns from exactly the h minutes that follow a forecast, or not at all."""
    made = market(seed)
    calibration, foresight = calibrate(made, away=(), restarts=())
    assert min(sum(weights) for weights in foresight.weights) > 30
    assert_judged(calibration, foresight)


@pytest.mark.parametrize("seed", range(8))
def test_neither_a_restart_nor_an_absence_moves_a_judgement(seed: int) -> None:
    """A forecast whose last minute passed while its model was not held is not judged later."""
    made, rng = market(seed), random.Random(seed)
    minutes = list(made.variances)
    away, restarts = set(spans(rng, minutes, 6)), set(rng.sample(minutes, 40))
    assert_judged(*calibrate(made, away, restarts))
