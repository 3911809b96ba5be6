"""The guard: when it stops a model, and when the model returns."""

from __future__ import annotations

import math

import pytest

from tests.unit.scoring.forecasts import START, Scores
from volsvc.scoring.guard import Guard
from volsvc.scoring.scores import PairedLosses

NAN = math.nan


def predicted_stop(good: int, ratio: float, bad_loss: float, base_loss: float) -> int:
    """Return the number of bad forecasts, after `good` equal ones, that exceed the ratio.

    (good b + k m) / ((good + k) b) > ratio  <=>  k > good (ratio - 1) b / (m - ratio b)
    """
    return math.floor(good * (ratio - 1) * base_loss / (bad_loss - ratio * base_loss)) + 1


@pytest.mark.parametrize(("good", "sigma"), [(300, 0.3e-3), (1000, 0.2e-3), (2000, 4e-3)])
def test_the_guard_stops_at_the_expected_forecast(good: int, sigma: float) -> None:
    """A model is stopped at exactly the forecast that takes the ratio of means above the limit."""
    scores, guard, truth = Scores("X", days=30), Guard(1.2, 240), 1.1e-3**2
    loss = {s: truth / s**2 - math.log(truth / s**2) - 1 for s in (1e-3, sigma)}
    stopped_after = None
    for index in range(good + 3000):
        scores.mature(START + index, (math.log(truth), NAN, NAN, NAN))
        if guard.update(scores.paired_losses(0)) == "stop":
            stopped_after = int(scores.paired_losses(0).n) - good
            break
        scores.issue_due(START + index, {"baseline": 1e-3, "ml": 1e-3 if index < good else sigma})
    assert stopped_after == predicted_stop(good, 1.2, loss[sigma], loss[1e-3])


def test_the_guard_does_not_flap() -> None:
    """The guard stops once around the limit, and stops again only after a return at 1."""
    guard = Guard(1.2, 10)
    ratios = [1.19, 1.21, 1.19, 1.21, 1.1, 1.3, 1.01, 0.99, 1.1, 1.19, 1.21]
    decisions = [guard.update(PairedLosses(100, 100.0, 100 * ratio)) for ratio in ratios]
    assert decisions == [None, "stop", *[None] * 5, "return", None, None, "stop"]
    assert Guard(1.2, 10).update(PairedLosses(9, 9.0, 90.0)) is None
    assert Guard(1.2, 10).update(PairedLosses()) is None


def test_an_operator_overrules_the_guard() -> None:
    """An overruled guard does not stop the model again before its ratio has been at most 1."""
    guard = Guard(1.2, 10)
    bad, good = PairedLosses(100, 100.0, 150.0), PairedLosses(100, 100.0, 95.0)
    assert guard.update(bad) == "stop"
    guard.overrule()
    assert [guard.update(bad), guard.update(good), guard.update(bad)] == [None, None, "stop"]
    guard.reset()
    assert guard.update(bad) == "stop"


def test_the_limits_of_the_guard() -> None:
    """It stops above its ratio only, returns at 1, and decides from the least number on."""
    guard = Guard(1.25, 10)
    assert guard.update(PairedLosses(10, 8.0, 10.0)) is None
    assert guard.update(PairedLosses(10, 8.0, 10.5)) == "stop"
    assert guard.update(PairedLosses(9, 8.0, 8.0)) is None
    assert guard.update(PairedLosses(10, 8.0, 8.5)) is None
    assert guard.stopped
    assert guard.update(PairedLosses(10, 8.0, 8.0)) == "return"
    assert guard == Guard(1.25, 10)


def test_a_guard_that_is_reset_is_a_new_one() -> None:
    """Nothing of a stop is left after a reset, and after an operator's word only that."""
    guard = Guard(1.25, 10)
    guard.update(PairedLosses(10, 8.0, 20.0))
    guard.overrule()
    assert guard == Guard(1.25, 10, stopped=False, overruled=True)
    guard.reset()
    assert guard == Guard(1.25, 10)
    guard.overrule()
    assert guard == Guard(1.25, 10)
