"""The sequential test: its error rate and its power."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from volsvc.scoring.past_outcomes import qlike
from volsvc.scoring.sequential_test import (
    FRACTIONS,
    LEVEL,
    MAX_LOSS,
    TEST,
    add,
    log_wealth_fitted,
    log_wealth_reference,
    pooled_log_wealth,
    start,
)


def new_test() -> Any:
    """Return the record of a test that has begun, whatever was in it before."""
    test = np.full(1, -1, "i8").repeat(TEST.itemsize // 8).view(TEST)[0]
    start(test)
    return test


def restored(test: Any) -> Any:
    """Return a test from its bytes."""
    return np.frombuffer(test.tobytes(), TEST).copy()[0]


def losses_of(rng: np.random.Generator, n: int, error: float) -> tuple[list[float], list[float]]:
    """Return QLIKE of two forecasters with errors of one law, on the same noisy outcomes."""
    realised = rng.chisquare(4, n) / 4
    first, second = (np.exp(rng.normal(0, error, n)) for _ in range(2))
    return qlike(realised, first).tolist(), qlike(realised, second).tolist()


def test_equal_challengers_are_rarely_recommended() -> None:
    """Of 500 equal challengers, tested after every forecast, at most LEVEL are recommended."""
    rng, limit, wrong = np.random.default_rng(11), -math.log(LEVEL), 0
    for _ in range(500):
        test = new_test()
        for reference, fitted in zip(*losses_of(rng, 600, 0.5), strict=True):
            add(test, reference, fitted)
            if log_wealth_fitted(test) >= limit:
                wrong += 1
                break
    assert wrong <= LEVEL * 500


def test_a_better_challenger_is_found() -> None:
    """A forecaster with smaller errors is recommended within a day; the worse one never."""
    rng, test = np.random.default_rng(12), new_test()
    for _ in range(1440):
        realised = rng.chisquare(4) / 4
        bad, good = (realised / math.exp(rng.normal(0, error)) for error in (0.6, 0.2))
        add(test, bad - math.log(bad) - 1, good - math.log(good) - 1)
    assert log_wealth_fitted(test) > -math.log(LEVEL)
    assert log_wealth_reference(test) < 0
    again = restored(test)
    assert (again.n, log_wealth_fitted(again)) == (test.n, log_wealth_fitted(test))
    assert pooled_log_wealth([]) == 0.0
    assert pooled_log_wealth([log_wealth_fitted(test)] * 3) == pytest.approx(
        log_wealth_fitted(test)
    )


def test_wealth_is_that_of_the_bets() -> None:
    """The wealth is the mean over fractions of the product of bets on capped losses."""
    losses = [(0.5, 0.25), (7.0, 1.0), (0.0, 9.0), (1.0, 1.0), (2.0, 0.125)]
    test, wealth, opposite = new_test(), [1.0] * len(FRACTIONS), [1.0] * len(FRACTIONS)
    assert (test.n, log_wealth_fitted(test), log_wealth_reference(test)) == (0, 0.0, 0.0)
    for number, (reference, fitted) in enumerate(losses, 1):
        add(test, reference, fitted)
        edge = min(reference, MAX_LOSS) / MAX_LOSS - min(fitted, MAX_LOSS) / MAX_LOSS
        wealth = [one * (1 + f * edge) for one, f in zip(wealth, FRACTIONS, strict=True)]
        opposite = [one * (1 - f * edge) for one, f in zip(opposite, FRACTIONS, strict=True)]
        assert test.n == number
        assert math.exp(log_wealth_fitted(test)) == pytest.approx(np.mean(wealth))
        assert math.exp(log_wealth_reference(test)) == pytest.approx(np.mean(opposite))
        test = restored(test)
