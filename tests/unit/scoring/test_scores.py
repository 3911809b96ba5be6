"""Scores of issued forecasts against brute force, closed forms and arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import decode
from msgspec.structs import replace
from scipy.special import digamma
from scipy.stats import chi2

from tests.unit.scoring.forecasts import START, Scores, due, evaluate, forecast
from volsvc.config.settings import FeatureSettings
from volsvc.domain import HORIZON_MINUTES
from volsvc.features import StateError, SymbolTable
from volsvc.features.stored_state import StoredState, pack, unpack
from volsvc.scoring import scores as scores_module
from volsvc.scoring.past_outcomes import qlike
from volsvc.scoring.scores import (
    DAY_MINUTES,
    ISSUE_EVERY,
    MAX_PENDING,
    NUMBERS,
    SCORES,
    LossSums,
    PairedLosses,
    prediction_id,
)

NAN = math.nan
BOTH = {"baseline": 1.1e-3, "ml": 1.05e-3}

minutes = st.lists(
    st.tuples(st.integers(1, 9), st.floats(1e-10, 1e-4), st.booleans()), min_size=1, max_size=150
)


@given(minutes, st.integers(0, 150))
def test_scores_are_those_of_brute_force(
    steps: list[tuple[int, float, bool]], restart_at: int
) -> None:
    """A forecast is scored by the minutes of its horizon, also across a restart, or dropped."""
    scores, at = Scores("X"), START
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
            assert {o.issued.horizon_minutes for o in outcomes} == {
                horizon
                for horizon, log_realised in zip(HORIZON_MINUTES, logs, strict=True)
                if minute - horizon in issued
                and (minute - horizon + 1) % ISSUE_EVERY[horizon] == 0
                and not math.isnan(log_realised)
            }
            for outcome in outcomes:
                matured = outcome.issued
                assert matured.minute in issued
                assert matured.minute + matured.horizon_minutes == minute
                assert outcome.realised == pytest.approx(
                    math.exp(logs[HORIZON_MINUTES.index(matured.horizon_minutes)] / 2)
                )
                losses[matured.horizon_minutes].append(outcome.qlike)
        scores.issue_due(at, {"ml": 1e-3})
        issued.append(at)
        if step == restart_at:
            stored = scores.stored()
            scores = scores.restarted()
            assert scores.stored() == stored
    for index, horizon in enumerate(HORIZON_MINUTES):
        sums = scores.loss_sums("ml", index)
        assert sums.n == len(losses[horizon])
        assert sums.qlike == pytest.approx(math.fsum(losses[horizon]))
        pending = [ahead for _, ahead in scores.pending("ml") if ahead == horizon]
        assert len(pending) <= horizon / ISSUE_EVERY[horizon]


def test_scores_agree_with_offline_ones_and_closed_forms() -> None:
    """Scores of the true forecast of chi-squared variances have their expected values."""
    k, sigma2, n = 12, 1e-6, 30_000
    rng = np.random.default_rng(5)
    variances = sigma2 * rng.chisquare(k, n) / k
    bounds = {name: math.sqrt(sigma2 * chi2.ppf(p, k) / k) for name, p in
              (("lo", 0.05), ("hi", 0.95), ("threshold", 0.9))}  # fmt: skip
    scores = Scores("X", days=90)
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
    scores = Scores("X", days=3)
    losses: dict[int, list[float]] = {}

    def mature(minute: int, variance: float) -> None:
        scores.issue("ml", "d", "1", [forecast("ml", minute - 1, 1)])
        (outcome,) = scores.mature(minute, (math.log(variance), NAN, NAN, NAN))
        losses.setdefault(minute // DAY_MINUTES, []).append(outcome.qlike)

    def check(found: Scores, *days: int) -> None:
        expected = [loss for day in days for loss in losses[day]]
        sums = found.loss_sums("ml", 0)
        assert sums.n == len(expected)
        assert sums.qlike == pytest.approx(math.fsum(expected), rel=1e-12)

    for day in range(10):
        mature(day * DAY_MINUTES, 2e-6 * (1 + day))
        mature(day * DAY_MINUTES + 9, 3e-6 * (1 + day))
    check(scores, 7, 8, 9)
    check(Scores("X", days=3))
    again = scores.restarted()
    assert again.loss_sums("ml", 0) == scores.loss_sums("ml", 0)
    mature(20 * DAY_MINUTES, 5e-6)
    check(scores, 20)
    check(again, 7, 8, 9)


def test_scores_of_a_new_model_start_afresh() -> None:
    """Scores and test of a new model include nothing of its predecessor."""
    scores = Scores("X")
    for minute in range(START, START + 50):
        scores.mature(minute, (math.log(1e-6),) * 4)
        scores.issue_due(minute, {"baseline": 1e-3, "ml": 2e-3})
    assert scores.paired_losses(0).n == 49
    assert scores.test(0).n == 49
    scores.issue("ml", "other", "2", [forecast("ml", START + 50, 1)])
    assert scores.paired_losses(0) == PairedLosses()
    assert scores.loss_sums("ml", 0) == LossSums()
    assert scores.loss_sums("baseline", 0).n == 49
    assert scores.newest_prediction_id("ml") == prediction_id("X", START + 50, "ml", "2")


def test_scores_of_a_new_model_cover_the_last_days() -> None:
    """The sums of a model that came later leave out the same days as those of the first one."""
    scores = Scores("X", days=2)
    scores.issue_due(START, BOTH)
    scores.issue("ml", "other", "2", [forecast("ml", START, 1)])
    for minute in range(START + 1, START + 3 * DAY_MINUTES):
        scores.mature(minute, (math.log(1e-6), NAN, NAN, NAN))
        issued = [forecast(variant, minute, 1) for variant in BOTH]
        scores.issue("baseline", "baseline", "1", issued[:1])
        scores.issue("ml", "other", "2", issued[1:])
    assert scores.paired_losses(0).n == scores.loss_sums("ml", 0).n == 2 * DAY_MINUTES


def run(scores: Scores, minutes: range) -> None:
    """Score and issue forecasts of both variants at the ends of minutes."""
    for minute in minutes:
        scores.mature(minute, (math.log(1e-6 * (1 + minute % 7)),) * 4)
        scores.issue_due(minute, BOTH)


def test_a_restart_changes_nothing() -> None:
    """Scores that were stored, at the beginning or later, go on as those that were not."""
    scores, again = (Scores("X", days=1) for _ in range(2))
    for minutes in (range(START, START + 70), range(START + 70, START + 2 * DAY_MINUTES)):
        stored = again.stored()
        again = again.restarted()
        assert again.stored() == stored
        for one in (scores, again):
            run(one, minutes)
        assert again.stored() == scores.stored() != stored
        for index in range(len(HORIZON_MINUTES)):
            assert again.paired_losses(index) == scores.paired_losses(index)
            assert again.loss_sums("ml", index) == scores.loss_sums("ml", index)
    assert scores.loss_sums("ml", 0).n == DAY_MINUTES


def test_what_is_stored_changes_with_the_scores() -> None:
    """A forecast that is issued and one that has matured are in the next state that is stored."""
    scores = Scores("X")
    states = [scores.stored()]
    pending = [scores.restarted().pending("ml")]
    for change in (
        lambda: scores.issue("ml", "d", "1", [forecast("ml", START, 1)]),
        lambda: scores.mature(START + 1, (math.log(1e-6), NAN, NAN, NAN)),
    ):
        change()
        states.append(scores.stored())
        pending.append(scores.restarted().pending("ml"))
    assert len(set(states)) == 3
    assert pending == [[], [(START, 1)], []]


@pytest.mark.parametrize("part", ["learnt", "daily"])
def test_states_that_lack_a_part_are_refused(part: str) -> None:
    """Scores without their last number, or sums of fewer horizons, raise StateError."""
    table = SymbolTable(FeatureSettings())
    stored = decode(table.stored(table.row_for("X", 0)), type=StoredState)
    assert unpack(pack(stored), stored.window_size)
    with pytest.raises(StateError, match="is no state"):
        unpack(pack(replace(stored, **{part: getattr(stored, part)[:-8]})), stored.window_size)


@pytest.mark.parametrize(
    ("field", "number"), [("pending", -1), ("pending", MAX_PENDING + 1), ("horizon", 4)]
)
def test_states_with_numbers_out_of_range_are_refused(field: str, number: int) -> None:
    """Pending forecasts beyond the record, or of a horizon that there is not, raise StateError."""
    table = SymbolTable(FeatureSettings())
    row = table.row_for("X", 0)
    kept = table.records[row].learnt.scores.variants[1]
    (kept.issued[MAX_PENDING - 1] if field == "horizon" else kept)[field] = number
    with pytest.raises(StateError, match="out of its range"):
        table.restore("X", table.stored(row), 0)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=80))
def test_forecasts_that_never_mature_stay_in_their_place(issued: list[tuple[int, int]]) -> None:
    """However many are issued, no byte of another variant or another symbol changes."""
    records, numbers = np.zeros(3, SCORES), np.ones(len(NUMBERS))
    for record in records:
        scores_module.start(record)
    middle = records[1]
    before, after = records[0].tobytes(), records[2].tobytes()
    for variant, horizon in issued:
        other, paired = middle.variants[1 - variant].tobytes(), middle.paired.tobytes()
        scores_module.issue(middle, variant, START, horizon, numbers)
        assert middle.variants[1 - variant].tobytes() == other
        assert middle.paired.tobytes() == paired
        assert middle.variants[variant].pending <= MAX_PENDING
    assert (records[0].tobytes(), records[2].tobytes()) == (before, after)


def test_forecasts_are_due_at_round_times() -> None:
    """Forecasts of 15 minutes are issued each 5, those of an hour each quarter, by the clock."""
    hours = range(START, START + 180)
    found = {
        horizon: [m + 1 - START for m in hours if horizon in due(m)] for horizon in HORIZON_MINUTES
    }
    every = list(range(1, 181))
    assert found == {1: every, 5: every, 15: every[4::5], 60: every[14::15]}


def test_ends_of_the_interval_belong_to_it() -> None:
    """A volatility at a bound is covered, and one at the threshold is no spike."""
    inside, spike = (
        evaluate(forecast("ml", START, 1, 2.0, **numbers), 4.0)
        for numbers in (
            {"lo": 2.0, "hi": 2.0, "threshold": 2.0, "score": 0.25},
            {"lo": 2.5, "hi": 3.0, "threshold": 1.5, "score": 0.25},
        )
    )
    assert (inside.realised, inside.qlike) == (2.0, 0.0)
    assert (inside.covered, inside.brier) == (True, 0.25**2)
    assert (spike.covered, spike.brier) == (False, 0.75**2)


def test_sums_of_two_sets_of_forecasts() -> None:
    """Each sum is added to its own; sums of another kind are refused."""
    assert LossSums(1, 2, 3, 4).plus((10, 20, 30, 40)) == LossSums(11, 22, 33, 44)
    assert PairedLosses(1, 2, 3).plus((10, 20, 30)) == PairedLosses(11, 22, 33)
    for kind in (LossSums, PairedLosses):
        with pytest.raises(ValueError, match="shorter"):
            kind().plus((1.0,))


def test_ids_name_the_end_of_the_minute() -> None:
    """The id of the newest forecast; before the first there are none, and no scores."""
    scores = Scores("X")
    assert scores.newest_prediction_id("ml") is None
    assert scores.loss_sums("ml", 0) == LossSums()
    scores.adopt("ml", "d")
    assert scores.newest_prediction_id("ml") is None
    scores.issue("ml", "d", "2", [forecast("ml", START + 59, 1)])
    assert scores.newest_prediction_id("ml") == "X/2026-01-05T01:00:00.000Z/ml-2"


def test_the_test_begins_with_the_first_forecast() -> None:
    """Every minute that has been forecast is compared, the first of the epoch included."""
    scores = Scores("X")
    run(scores, range(4))
    assert scores.paired_losses(0).n == scores.test(0).n == 3


def test_size_is_bounded() -> None:
    """The stored scores of a symbol stay small however old it is."""
    scores = Scores("BTC-USD")
    most = 0
    for minute in range(START, START + 9 * DAY_MINUTES):
        scores.mature(minute, (math.log(1e-6 + minute * 1e-15),) * 4)
        scores.issue_due(minute, {"baseline": 1.1e-3, "ml": 1.05e-3})
        most = max(most, scores.record.variants["pending"].max())
    # Those of the last hour, and room for as many as are issued at once.
    assert most == sum(horizon // every for horizon, every in ISSUE_EVERY.items()) < MAX_PENDING
    assert sum(map(len, scores.stored())) < 8_000
