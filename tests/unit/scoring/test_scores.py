"""Forecasts that are frozen and judged: against brute force, closed forms and arithmetic."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma
from scipy.stats import chi2

from volsvc.domain import IssuedForecast
from volsvc.scoring.guard import Guard
from volsvc.scoring.scores import (
    AHEADS,
    DAY_MINUTES,
    EVERY,
    DailySums,
    Pair,
    SymbolScores,
    Tally,
    prediction_id,
)
from volsvc.scoring.sequential_test import LEVEL, SequentialTest, pooled
from volsvc.training.scores import qlike

START = 29_459_520
NAN = math.nan


def issued(
    variant: str, minute: int, ahead: int, sigma: float = 1e-3, **more: float
) -> IssuedForecast:
    said = {"lo": sigma / 2, "hi": sigma * 2, "threshold": sigma * 1.5, "score": 0.1, **more}
    return IssuedForecast(variant, "1", minute, ahead, sigma, **said)


def issue(scores: SymbolScores, minute: int, sigmas: dict[str, float]) -> None:
    for variant, sigma in sigmas.items():
        said = [issued(variant, minute, AHEADS[at], sigma) for at in scores.due(minute)]
        scores.issue(variant, variant, "1", said)


minutes = st.lists(
    st.tuples(st.integers(1, 9), st.floats(1e-10, 1e-4), st.booleans()), min_size=1, max_size=150
)


@given(minutes, st.integers(0, 150))
def test_scores_are_those_of_brute_force(
    steps: list[tuple[int, float, bool]], restart_at: int
) -> None:
    """A forecast is judged by the minutes of its horizon, across a restart, or not at all."""
    scores, at = SymbolScores("X"), START
    realised: dict[int, float] = {}
    issued: list[int] = []
    losses: dict[int, list[float]] = {ahead: [] for ahead in AHEADS}
    begin = START + 1
    for step, (gap, variance, is_gap) in enumerate(steps):
        before, at = at, at + gap
        if is_gap and step:
            begin = at
        closed = range(before + 1, at) if not (is_gap or not step) else range(0)
        for minute in (*closed, at):
            realised[minute] = variance if minute == at else 0.0
            logs = []
            for ahead in AHEADS:
                seen = [realised.get(m, NAN) for m in range(minute - ahead + 1, minute + 1)]
                whole = minute - ahead + 1 >= begin and not any(map(math.isnan, seen))
                logs.append(math.log(max(sum(seen), 1e-12)) if whole else NAN)
            outcomes = scores.settle(minute, logs)
            for outcome in outcomes:
                said = outcome.issued
                assert said.minute in issued
                assert said.minute + said.ahead == minute
                assert outcome.realised == pytest.approx(
                    math.exp(logs[AHEADS.index(said.ahead)] / 2)
                )
                losses[said.ahead].append(outcome.qlike)
        issue(scores, at, {"ml": 1e-3})
        issued.append(at)
        if step == restart_at:
            stored = json.loads(json.dumps(scores.dump()))
            scores = SymbolScores("X")
            scores.restore(stored)
            assert json.dumps(scores.dump()) == json.dumps(stored)
    for place, ahead in enumerate(AHEADS):
        tally = scores.tally("ml", place)
        assert tally.n == len(losses[ahead])
        assert tally.qlike == pytest.approx(math.fsum(losses[ahead]))
        assert (
            sum(f.ahead == ahead for f in scores.by_variant["ml"].pending) <= ahead / EVERY[ahead]
        )


def test_live_scores_are_the_offline_ones_and_the_closed_forms() -> None:
    """Chi-squared variances under the right forecast: QLIKE, coverage and Brier are known."""
    k, sigma2, n = 12, 1e-6, 30_000
    rng = np.random.default_rng(5)
    variances = sigma2 * rng.chisquare(k, n) / k
    bounds = {name: math.sqrt(sigma2 * chi2.ppf(p, k) / k) for name, p in
              (("lo", 0.05), ("hi", 0.95), ("threshold", 0.9))}  # fmt: skip
    scores = SymbolScores("X", days=90)
    for index, variance in enumerate(variances.tolist()):
        scores.settle(START + index, (math.log(variance), NAN, NAN, NAN))
        said = issued("ml", START + index, 1, math.sqrt(sigma2), score=0.1, **bounds)
        scores.issue("ml", "d", "1", [said])
    tally, judged = scores.tally("ml", 0), variances[1:]
    offline = float(qlike(judged, np.full(n - 1, sigma2)).mean())
    volatility = np.sqrt(judged)
    covered = (volatility >= bounds["lo"]) & (volatility <= bounds["hi"])
    brier = float(((volatility > bounds["threshold"]) - 0.1).astype(float).__pow__(2).mean())
    assert tally.n == n - 1
    assert tally.qlike / tally.n == pytest.approx(offline, rel=1e-9)
    assert tally.covered == covered.sum()
    assert tally.brier / tally.n == pytest.approx(brier, rel=1e-9)
    # And the closed forms, within four standard errors.
    assert offline == pytest.approx(-(digamma(k / 2) - math.log(k / 2)), abs=0.003)
    assert covered.mean() == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / n))
    assert brier == pytest.approx(0.09, abs=0.005)


def test_window_is_the_last_days() -> None:
    """Sums are over the last days of event time, today's included."""
    window = DailySums(3)
    for day in range(10):
        window.add(day * DAY_MINUTES, (1.0, float(day)))
        window.add(day * DAY_MINUTES + 9, (1.0, float(day)))
    assert window.total(2) == [6.0, 2.0 * (7 + 8 + 9)]
    window.add(20 * DAY_MINUTES, (1.0, 5.0))
    assert window.total(2) == [1.0, 5.0]


def test_another_model_begins_anew() -> None:
    """Scores and evidence are of one model: nothing of its predecessor's counts."""
    scores = SymbolScores("X")
    for minute in range(START, START + 50):
        scores.settle(minute, (math.log(1e-6),) * 4)
        issue(scores, minute, {"baseline": 1e-3, "ml": 2e-3})
    assert scores.pair(0).n == 49
    assert scores.paired[0].test.n == 49
    scores.issue("ml", "other", "2", [issued("ml", START + 50, 1)])
    assert scores.pair(0) == Pair()
    assert scores.tally("ml", 0) == Tally()
    assert scores.tally("baseline", 0).n == 49
    assert scores.id_of("ml") == prediction_id("X", START + 50, "ml", "2")


def test_size_is_bounded() -> None:
    """However long a symbol lives, its scores fit beside its state."""
    scores = SymbolScores("BTC-USD")
    for minute in range(START, START + 9 * DAY_MINUTES):
        scores.settle(minute, (math.log(1e-6 + minute * 1e-15),) * 4)
        issue(scores, minute, {"baseline": 1.1e-3, "ml": 1.05e-3})
    assert len(json.dumps(scores.dump())) < 16_000


# --- the guard ------------------------------------------------------------------------------


def predicted_stop(good: int, ratio: float, bad_loss: float, base_loss: float) -> int:
    """The k-th bad pair after `good` equal ones at which the mean is above the ratio.

    (good b + k m) / ((good + k) b) > ratio  <=>  k > good (ratio - 1) b / (m - ratio b)
    """
    return math.floor(good * (ratio - 1) * base_loss / (bad_loss - ratio * base_loss)) + 1


@pytest.mark.parametrize(("good", "sigma"), [(300, 0.3e-3), (1000, 0.2e-3), (2000, 4e-3)])
def test_guard_stops_when_arithmetic_says(good: int, sigma: float) -> None:
    """A model that goes bad is stopped at the very forecast that the window's means predict."""
    scores, guard, truth = SymbolScores("X", days=30), Guard(1.2, 240), 1.1e-3**2
    loss = {s: truth / s**2 - math.log(truth / s**2) - 1 for s in (1e-3, sigma)}
    stopped_after = None
    for index in range(good + 3000):
        scores.settle(START + index, (math.log(truth), NAN, NAN, NAN))
        if guard.judge(scores.pair(0)) == "stop":
            stopped_after = int(scores.pair(0).n) - good
            break
        issue(scores, START + index, {"baseline": 1e-3, "ml": 1e-3 if index < good else sigma})
    assert stopped_after == predicted_stop(good, 1.2, loss[sigma], loss[1e-3])


def test_guard_does_not_flap() -> None:
    """Around the limit it stops once; it lets back at parity alone, and stops again above."""
    guard = Guard(1.2, 10)
    ratios = [1.19, 1.21, 1.19, 1.21, 1.1, 1.3, 1.01, 0.99, 1.1, 1.19, 1.21]
    heard = [guard.judge(Pair(100, 100.0, 100 * ratio)) for ratio in ratios]
    assert heard == [None, "stop", *[None] * 5, "return", None, None, "stop"]
    assert Guard(1.2, 10).judge(Pair(9, 9.0, 90.0)) is None
    assert Guard(1.2, 10).judge(Pair()) is None


def test_an_operator_overrules_the_guard() -> None:
    """What an operator starts all the same is not stopped at once; after a good time, it may be."""
    guard = Guard(1.2, 10)
    bad, good = Pair(100, 100.0, 150.0), Pair(100, 100.0, 95.0)
    assert guard.judge(bad) == "stop"
    guard.overrule()
    assert [guard.judge(bad), guard.judge(good), guard.judge(bad)] == [None, None, "stop"]
    guard.begin()
    assert guard.judge(bad) == "stop"


# --- evidence -------------------------------------------------------------------------------


def losses_of(rng: np.random.Generator, n: int, error: float) -> tuple[list[float], list[float]]:
    """QLIKE of two forecasters that err by the same law, on the same noisy outcomes."""
    realised = rng.chisquare(4, n) / 4
    first, second = (np.exp(rng.normal(0, error, n)) for _ in range(2))
    return qlike(realised, first).tolist(), qlike(realised, second).tolist()


def test_equal_challengers_are_rarely_recommended() -> None:
    """Of 500 equal challengers, watched after every forecast, at most the stated share is."""
    rng, limit, wrong = np.random.default_rng(11), -math.log(LEVEL), 0
    for _ in range(500):
        test = SequentialTest()
        for reference, fitted in zip(*losses_of(rng, 600, 0.5), strict=True):
            test.add(reference, fitted)
            if test.for_fitted >= limit:
                wrong += 1
                break
    assert wrong <= LEVEL * 500


def test_a_better_challenger_is_found() -> None:
    """A forecaster that errs less is recommended within a day, and never the worse one."""
    rng, test = np.random.default_rng(12), SequentialTest()
    for _ in range(1440):
        realised = rng.chisquare(4) / 4
        bad, good = (realised / math.exp(rng.normal(0, error)) for error in (0.6, 0.2))
        test.add(bad - math.log(bad) - 1, good - math.log(good) - 1)
    assert test.for_fitted > -math.log(LEVEL)
    assert test.for_reference < 0
    again = SequentialTest()
    again.restore(json.loads(json.dumps(test.dump())))
    assert (again.n, again.for_fitted) == (test.n, test.for_fitted)
    assert pooled([]) == 0.0
    assert pooled([test.for_fitted] * 3) == pytest.approx(test.for_fitted)
