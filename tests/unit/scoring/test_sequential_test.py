"""The sequential test: its error rate and its power."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from volsvc.scoring.sequential_test import (
    FRACTIONS,
    LEVEL,
    MAX_LOSS,
    SequentialTest,
    pooled_log_wealth,
)
from volsvc.training.scores import qlike


def losses_of(rng: np.random.Generator, n: int, error: float) -> tuple[list[float], list[float]]:
    """Return QLIKE of two forecasters with errors of one law, on the same noisy outcomes."""
    realised = rng.chisquare(4, n) / 4
    first, second = (np.exp(rng.normal(0, error, n)) for _ in range(2))
    return qlike(realised, first).tolist(), qlike(realised, second).tolist()


def test_equal_challengers_are_rarely_recommended() -> None:
    """Of 500 equal challengers, tested after every forecast, at most LEVEL are recommended."""
    rng, limit, wrong = np.random.default_rng(11), -math.log(LEVEL), 0
    for _ in range(500):
        test = SequentialTest()
        for reference, fitted in zip(*losses_of(rng, 600, 0.5), strict=True):
            test.add(reference, fitted)
            if test.log_wealth_fitted >= limit:
                wrong += 1
                break
    assert wrong <= LEVEL * 500


def test_a_better_challenger_is_found() -> None:
    """A forecaster with smaller errors is recommended within a day; the worse one never."""
    rng, test = np.random.default_rng(12), SequentialTest()
    for _ in range(1440):
        realised = rng.chisquare(4) / 4
        bad, good = (realised / math.exp(rng.normal(0, error)) for error in (0.6, 0.2))
        test.add(bad - math.log(bad) - 1, good - math.log(good) - 1)
    assert test.log_wealth_fitted > -math.log(LEVEL)
    assert test.log_wealth_reference < 0
    again = SequentialTest()
    again.restore(json.loads(json.dumps(test.dump())))
    assert (again.n, again.log_wealth_fitted) == (test.n, test.log_wealth_fitted)
    assert pooled_log_wealth([]) == 0.0
    assert pooled_log_wealth([test.log_wealth_fitted] * 3) == pytest.approx(test.log_wealth_fitted)


def test_wealth_is_that_of_the_bets() -> None:
    """The wealth is the mean over fractions of the product of bets on capped losses."""
    losses = [(0.5, 0.25), (7.0, 1.0), (0.0, 9.0), (1.0, 1.0), (2.0, 0.125)]
    test, wealth, opposite = SequentialTest(), [1.0] * len(FRACTIONS), [1.0] * len(FRACTIONS)
    assert (test.n, test.log_wealth_fitted, test.log_wealth_reference) == (0, 0.0, 0.0)
    for number, (reference, fitted) in enumerate(losses, 1):
        test.add(reference, fitted)
        edge = min(reference, MAX_LOSS) / MAX_LOSS - min(fitted, MAX_LOSS) / MAX_LOSS
        wealth = [one * (1 + f * edge) for one, f in zip(wealth, FRACTIONS, strict=True)]
        opposite = [one * (1 - f * edge) for one, f in zip(opposite, FRACTIONS, strict=True)]
        assert test.n == number
        assert math.exp(test.log_wealth_fitted) == pytest.approx(np.mean(wealth))
        assert math.exp(test.log_wealth_reference) == pytest.approx(np.mean(opposite))
        again = SequentialTest()
        again.restore(json.loads(json.dumps(test.dump())))
        test = again
