"""Scores of issued forecasts against brute force, closed forms and arithmetic."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma
from scipy.stats import chi2

from tests.unit.scoring.forecasts import START, forecast, issue
from volsvc.domain import HORIZON_MINUTES
from volsvc.scoring.scores import (
    DAY_MINUTES,
    ISSUE_EVERY,
    DailySums,
    LossSums,
    PairedLosses,
    SymbolScores,
    prediction_id,
)
from volsvc.training.scores import qlike

NAN = math.nan

minutes = st.lists(
    st.tuples(st.integers(1, 9), st.floats(1e-10, 1e-4), st.booleans()), min_size=1, max_size=150
)


@given(minutes, st.integers(0, 150))
def test_scores_are_those_of_brute_force(
    steps: list[tuple[int, float, bool]], restart_at: int
) -> None:
    """A forecast is scored by the minutes of its horizon, also across a restart, or dropped."""
    scores, at = SymbolScores("X"), START
    realised: dict[int, float] = {}
    issued: list[int] = []
    losses: dict[int, list[float]] = {horizon: [] for horizon in HORIZON_MINUTES}
    begin = START + 1
    for step, (gap, variance, is_gap) in enumerate(steps):
        before, at = at, at + gap
        if is_gap and step:
            begin = at
        closed = range(before + 1, at) if not (is_gap or not step) else range(0)
        for minute in (*closed, at):
            realised[minute] = variance if minute == at else 0.0
            logs = []
            for horizon in HORIZON_MINUTES:
                seen = [realised.get(m, NAN) for m in range(minute - horizon + 1, minute + 1)]
                whole = minute - horizon + 1 >= begin and not any(map(math.isnan, seen))
                logs.append(math.log(max(sum(seen), 1e-12)) if whole else NAN)
            outcomes = scores.mature(minute, logs)
            for outcome in outcomes:
                matured = outcome.issued
                assert matured.minute in issued
                assert matured.minute + matured.horizon_minutes == minute
                assert outcome.realised == pytest.approx(
                    math.exp(logs[HORIZON_MINUTES.index(matured.horizon_minutes)] / 2)
                )
                losses[matured.horizon_minutes].append(outcome.qlike)
        issue(scores, at, {"ml": 1e-3})
        issued.append(at)
        if step == restart_at:
            stored = json.loads(json.dumps(scores.dump()))
            scores = SymbolScores("X")
            scores.restore(stored)
            assert json.dumps(scores.dump()) == json.dumps(stored)
    for index, horizon in enumerate(HORIZON_MINUTES):
        sums = scores.loss_sums("ml", index)
        assert sums.n == len(losses[horizon])
        assert sums.qlike == pytest.approx(math.fsum(losses[horizon]))
        pending = [f for f in scores.by_variant["ml"].pending if f.horizon_minutes == horizon]
        assert len(pending) <= horizon / ISSUE_EVERY[horizon]


def test_scores_agree_with_offline_ones_and_closed_forms() -> None:
    """Scores of the true forecast of chi-squared variances have their expected values."""
    k, sigma2, n = 12, 1e-6, 30_000
    rng = np.random.default_rng(5)
    variances = sigma2 * rng.chisquare(k, n) / k
    bounds = {name: math.sqrt(sigma2 * chi2.ppf(p, k) / k) for name, p in
              (("lo", 0.05), ("hi", 0.95), ("threshold", 0.9))}  # fmt: skip
    scores = SymbolScores("X", days=90)
    for index, variance in enumerate(variances.tolist()):
        scores.mature(START + index, (math.log(variance), NAN, NAN, NAN))
        issued = forecast("ml", START + index, 1, math.sqrt(sigma2), score=0.1, **bounds)
        scores.issue("ml", "d", "1", [issued])
    sums, matured = scores.loss_sums("ml", 0), variances[1:]
    offline = float(qlike(matured, np.full(n - 1, sigma2)).mean())
    volatility = np.sqrt(matured)
    covered = (volatility >= bounds["lo"]) & (volatility <= bounds["hi"])
    brier = float(((volatility > bounds["threshold"]) - 0.1).astype(float).__pow__(2).mean())
    assert sums.n == n - 1
    assert sums.qlike / sums.n == pytest.approx(offline, rel=1e-9)
    assert sums.covered == covered.sum()
    assert sums.brier / sums.n == pytest.approx(brier, rel=1e-9)
    # And the closed forms, within four standard errors.
    assert offline == pytest.approx(-(digamma(k / 2) - math.log(k / 2)), abs=0.003)
    assert covered.mean() == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / n))
    assert brier == pytest.approx(0.09, abs=0.005)


def test_sums_cover_the_last_days() -> None:
    """Sums are over the last days of event time, the current day included."""
    window = DailySums(3)
    for day in range(10):
        window.add(day * DAY_MINUTES, (1.0, float(day)))
        window.add(day * DAY_MINUTES + 9, (1.0, float(day)))
    assert window.total(2) == [6.0, 2.0 * (7 + 8 + 9)]
    window.add(20 * DAY_MINUTES, (1.0, 5.0))
    assert window.total(2) == [1.0, 5.0]


def test_scores_of_a_new_model_start_afresh() -> None:
    """Scores and test of a new model include nothing of its predecessor."""
    scores = SymbolScores("X")
    for minute in range(START, START + 50):
        scores.mature(minute, (math.log(1e-6),) * 4)
        issue(scores, minute, {"baseline": 1e-3, "ml": 2e-3})
    assert scores.paired_losses(0).n == 49
    assert scores.paired[0].test.n == 49
    scores.issue("ml", "other", "2", [forecast("ml", START + 50, 1)])
    assert scores.paired_losses(0) == PairedLosses()
    assert scores.loss_sums("ml", 0) == LossSums()
    assert scores.loss_sums("baseline", 0).n == 49
    assert scores.newest_prediction_id("ml") == prediction_id("X", START + 50, "ml", "2")


def test_size_is_bounded() -> None:
    """The stored scores of a symbol stay small however old it is."""
    scores = SymbolScores("BTC-USD")
    for minute in range(START, START + 9 * DAY_MINUTES):
        scores.mature(minute, (math.log(1e-6 + minute * 1e-15),) * 4)
        issue(scores, minute, {"baseline": 1.1e-3, "ml": 1.05e-3})
    assert len(json.dumps(scores.dump())) < 16_000
