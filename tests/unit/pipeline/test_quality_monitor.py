"""The quality monitor: scores by hand, the guard, the recommendation and the metrics."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.daemon import eventually
from tests.unit.pipeline.scored import MODEL, Judged, scored_table
from tests.variations import SNAPSHOT
from volsvc.config.settings import QualitySettings
from volsvc.domain import HORIZON_MINUTES, UnknownSymbolError
from volsvc.features import SymbolTable
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.quality_monitor import MAX_SYMBOLS, QualityMonitor
from volsvc.scoring.scores import FITTED, REFERENCE
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import DesiredModel
from volsvc.serving.quality_guard import QualityGuard

SYMBOLS = ("A", "B", "C")
SETTINGS = QualitySettings(window_days=3, fallback_ratio=1.5, least_forecasts=2)
# No outcome is at a bound of an interval, where rounding would decide.
SIGMAS, REALISED = (st.integers(1, 10).map(unit.__mul__) for unit in (1e-4, 1.03e-4))
OUTCOMES = st.lists(
    st.builds(
        Judged,
        st.sampled_from(SYMBOLS[:2]),
        st.sampled_from(HORIZON_MINUTES),
        REALISED,
        st.dictionaries(st.sampled_from([REFERENCE, FITTED]), SIGMAS, min_size=1),
    ),
    max_size=12,
)
# Forecasts of volatilities of 1: the first has a hundredth of the loss of the second.
GOOD, BAD = 1.0, 2.0


def monitor(
    table: SymbolTable,
    *,
    variant: str = FITTED,
    horizon_s: float = 60.0,
    latest_store: LatestStore | None = None,
) -> tuple[QualityMonitor, ModelHolder]:
    """Return a monitor of a table, and the holder that its guard acts on."""
    holder = ModelHolder(DesiredModel(variant, MODEL))
    store = latest_store or LatestStore()
    return QualityMonitor(table, store, holder, SETTINGS, horizon_s), holder


def outcomes_of(count: int, sigmas: dict[str, float], symbol: str = "A") -> list[Judged]:
    """Return outcomes of one minute, with the same forecasts each time."""
    return [Judged(symbol, 1, 1.0, sigmas)] * count


def rows_by_hand(symbol: str | None, outcomes: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return the rows of `/quality` for outcomes of a symbol, or of all."""
    rows = []
    for variant in (REFERENCE, FITTED):
        for horizon in HORIZON_MINUTES:
            at = [o for o in outcomes if o.horizon == horizon and symbol in (None, o.symbol)]
            mine = [o for o in at if variant in o.sigmas]
            paired = [o for o in at if len(o.sigmas) == 2]
            if not mine:
                continue
            reference = sum(o.qlike(REFERENCE) for o in paired)
            skill = 1 - sum(o.qlike(FITTED) for o in paired) / reference if reference else None
            row = {
                "variant": variant,
                "horizon_s": horizon * 60.0,
                "n": len(mine),
                "qlike": sum(o.qlike(variant) for o in mine) / len(mine),
                "coverage": sum(o.covered(variant) for o in mine) / len(mine),
                "brier": sum(o.brier(variant) for o in mine) / len(mine),
                "skill": 0.0 if variant == REFERENCE else skill,
            }
            rows.append({"symbol": symbol, **row} if symbol else row)
    return rows


def assert_rows(found: Sequence[Any], expected: Sequence[dict[str, Any]]) -> None:
    """Compare rows, and their numbers up to rounding."""
    assert len(found) == len(expected)
    for row, other in zip(found, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-6, abs=1e-12)


@given(OUTCOMES)
def test_scores_are_means_over_the_outcomes(outcomes: list[Judged]) -> None:
    """Each row is the mean over its outcomes, and skill is that of the paired ones."""
    quality, _ = monitor(scored_table(SYMBOLS, outcomes))
    report = quality.report()
    assert report["window_days"] == 3
    assert report["symbols_left_out"] == 0
    assert_rows(report["scores"], rows_by_hand(None, outcomes))
    by_symbol = [rows_by_hand(symbol, outcomes) for symbol in SYMBOLS]
    assert_rows(report["symbols"], [row for rows in by_symbol for row in rows])
    for symbol, expected in zip(SYMBOLS, by_symbol, strict=True):
        alone = quality.report(symbol)
        assert_rows(alone["symbols"], expected)
        without = [{k: v for k, v in row.items() if k != "symbol"} for row in expected]
        assert_rows(alone["scores"], without)


def test_an_unknown_symbol_has_no_report() -> None:
    """The error names similar symbols."""
    quality, _ = monitor(scored_table(["BTC-USD"], []))
    with pytest.raises(UnknownSymbolError, match="BTC-USD"):
        quality.report("BTC-US")


def test_long_reports_are_cut() -> None:
    """Of many symbols the first by name are listed, and the others are counted."""
    symbols = [f"S{number:04}" for number in range(MAX_SYMBOLS + 3)][::-1]
    outcomes = [Judged(symbol, 1, 1.0, {REFERENCE: GOOD}) for symbol in symbols]
    quality, _ = monitor(scored_table(symbols, outcomes))
    report = quality.report()
    assert [row["symbol"] for row in report["symbols"]] == symbols[::-1][:MAX_SYMBOLS]
    assert report["symbols_left_out"] == 3
    assert report["scores"][0]["n"] == MAX_SYMBOLS + 3


@pytest.mark.parametrize(
    ("horizon_s", "nearest"),
    [(1, 60), (60, 60), (134, 60), (135, 300), (301, 300), (1_700, 900), (2_000, 3_600)],
)
def test_the_guard_looks_at_the_nearest_horizon(horizon_s: float, nearest: float) -> None:
    """Guard and recommendation are of the fitted horizon that is nearest in ratio."""
    outcomes = [
        Judged("A", horizon, 1.0, {REFERENCE: GOOD, FITTED: BAD})
        for horizon in HORIZON_MINUTES
        for _ in range(horizon)
    ]
    quality, _ = monitor(scored_table(SYMBOLS, outcomes), horizon_s=horizon_s)
    report = quality.report()
    assert report["guard"]["horizon_s"] == report["recommendation"]["horizon_s"] == nearest
    assert report["guard"]["forecasts"] == report["recommendation"]["pairs"] == nearest / 60
    assert quality.paired_losses().n == nearest / 60


def test_the_guard_compares_all_symbols() -> None:
    """Its ratio is that of the sums over all symbols; a stop and its limits are in the report."""
    sigmas = {REFERENCE: 0.9, FITTED: 0.8}
    outcomes = [
        Judged("A", 1, 1.0, sigmas),
        Judged("B", 1, 2.0, sigmas),
        Judged("B", 1, 0.7, {FITTED: 0.8}),
    ]
    quality, holder = monitor(scored_table(SYMBOLS, outcomes))
    losses = [sum(o.qlike(v) for o in outcomes[:2]) for v in (REFERENCE, FITTED)]
    assert quality.paired_losses() == pytest.approx((2, *losses))
    ratio = losses[1] / losses[0]
    expected = {
        "stopped": False,
        "overruled": False,
        "fallback_ratio": 1.5,
        "ratio": pytest.approx(ratio),
        "forecasts": 2,
        "least_forecasts": 2,
        "horizon_s": 60.0,
    }
    assert quality.report()["guard"] == expected
    quality.check_guard()
    assert holder.desired.stopped is None


def test_the_guard_stops_a_bad_model_until_it_is_overruled() -> None:
    """A stop and an operator's override are in the report; another model's losses count not."""
    outcomes = outcomes_of(2, {REFERENCE: GOOD * 1.1, FITTED: BAD})
    quality, holder = monitor(scored_table(SYMBOLS, outcomes))
    quality.check_guard()
    assert holder.current.model.variant == "baseline"
    assert "of 60 s" in (holder.desired.stopped or "")
    assert quality.report()["guard"]["stopped"]
    holder.apply(replace(holder.desired, stopped=None), "operator")
    quality.check_guard()
    guard = quality.report()["guard"]
    assert (guard["stopped"], guard["overruled"]) == (False, True)
    assert holder.current.model is MODEL


@pytest.mark.parametrize("fitted", [None, MODEL])
def test_losses_are_of_the_present_fitted_model(fitted: Any) -> None:
    """Scores of an earlier version are neither guarded by nor recommended from."""
    outcomes = outcomes_of(2, {REFERENCE: GOOD, FITTED: BAD})
    quality, holder = monitor(scored_table(SYMBOLS, outcomes, "another"))
    holder.apply(replace(holder.desired, fitted=fitted), "operator")
    assert quality.paired_losses().n == 0
    report = quality.report()
    assert (report["guard"]["forecasts"], report["guard"]["ratio"]) == (0, None)
    assert (report["recommendation"]["pairs"], report["recommendation"]["e_value"]) == (0, 1.0)
    assert report["scores"][-1]["variant"] == FITTED


def wealth_by_hand(pairs: int, edge: float) -> float:
    """Return the wealth after so many bets on the same difference of losses, relative to 4."""
    shares = [(1 + 2.0**-k * edge / 4) ** pairs for k in range(1, 8)]
    return sum(shares) / len(shares)


@pytest.mark.parametrize("serving", [FITTED, REFERENCE])
@pytest.mark.parametrize("better", [FITTED, REFERENCE])
def test_a_challenger_is_recommended_by_the_evidence(serving: str, better: str) -> None:
    """The e-value is the mean wealth of the symbols' bets on the variant that does not serve."""
    worse = FITTED if better == REFERENCE else REFERENCE
    sigmas = {better: GOOD, worse: BAD}
    outcomes = outcomes_of(80, sigmas) + outcomes_of(5, sigmas, "B")
    quality, _ = monitor(scored_table(SYMBOLS, outcomes), variant=serving)
    found = quality.report()["recommendation"]
    challenger = REFERENCE if serving == FITTED else FITTED
    loss = outcomes[0].qlike(worse)
    edge = loss if challenger == better else -loss
    wealth = (wealth_by_hand(80, edge) + wealth_by_hand(5, edge)) / 2
    assert found == {
        "champion": serving,
        "challenger": challenger,
        "action": "promote" if wealth >= 20 else "keep",
        "e_value": pytest.approx(wealth, rel=1e-9),
        "level": 0.05,
        "pairs": 85,
        "horizon_s": 60.0,
    }
    assert (found["action"] == "promote") is (challenger == better)
    alone = quality.report("B")["recommendation"]
    assert alone["e_value"] == pytest.approx(wealth_by_hand(5, edge), rel=1e-9)
    assert (alone["pairs"], alone["action"]) == (5, "keep")


def test_the_e_value_has_a_bound() -> None:
    """Overwhelming evidence is a number that JSON can hold."""
    outcomes = outcomes_of(4_000, {REFERENCE: BAD * 10, FITTED: GOOD})
    quality, _ = monitor(scored_table(SYMBOLS, outcomes), variant=REFERENCE)
    found = quality.report()["recommendation"]
    assert found["e_value"] == math.exp(700)
    assert found["action"] == "promote"


async def test_the_guard_checks_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops a model whose bad forecasts matured after the first check."""
    monkeypatch.setattr("volsvc.pipeline.quality_monitor.CHECK_INTERVAL_S", 0.001)
    checks: list[float] = []
    check = QualityGuard.check

    def counted(guard: QualityGuard, losses: Any) -> None:
        checks.append(losses.n)
        check(guard, losses)

    monkeypatch.setattr(QualityGuard, "check", counted)
    table = scored_table(SYMBOLS, [])
    quality, holder = monitor(table)
    task = asyncio.create_task(quality.run())
    await asyncio.sleep(0)
    assert checks == [0]
    bad = outcomes_of(3, {REFERENCE: GOOD * 1.1, FITTED: BAD})
    for minute, outcome in enumerate(bad):
        outcome.score(table, 29_459_520 + minute, MODEL.digest)

    async def stopped() -> bool:
        return holder.desired.stopped is not None

    await eventually(stopped, 10, "the guard stops the model")
    task.cancel()


@given(OUTCOMES)
def test_metrics_of_scores_and_forecasts(outcomes: list[Judged]) -> None:
    """Each series is the mean over its outcomes; without an outcome there is none."""
    groups: dict[tuple[str, str, str], list[Judged]] = defaultdict(list)
    for outcome in outcomes:
        for variant in outcome.sigmas:
            groups[outcome.symbol, f"{outcome.horizon * 60}", variant].append(outcome)
    expected: dict[tuple[Any, ...], float] = {}
    for key, group in groups.items():
        variant, count = key[2], len(group)
        labels = tuple(zip(("symbol", "horizon", "variant"), key, strict=True))
        means = {
            "volsvc_forecasts_judged": count,
            "volsvc_forecast_qlike": sum(o.qlike(variant) for o in group) / count,
            "volsvc_interval_coverage_ratio": sum(o.covered(variant) for o in group) / count,
        }
        expected |= {(name, *labels): value for name, value in means.items()}
    store = LatestStore()
    store.put(SNAPSHOT, 0.0)
    for prediction in SNAPSHOT.predictions:
        labels = (("symbol", "BTC-USD"), ("horizon", f"{prediction.horizon_s:g}"))
        name = "volsvc_forecast_sigma_annualised_ratio"
        expected[name, *labels] = prediction.sigma_annualised
    quality, _ = monitor(scored_table(SYMBOLS, outcomes), latest_store=store)
    families = list(quality.collect())
    found = {(s.name, *s.labels.items()): s.value for family in families for s in family.samples}
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert all(family.documentation and family.type == "gauge" for family in families)


def test_evidence_that_just_suffices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wealth has to reach the inverse of the level, not to exceed it."""
    monkeypatch.setattr("volsvc.pipeline.quality_monitor.LEVEL", 1.0)
    quality, _ = monitor(scored_table(SYMBOLS, []))
    assert quality.report()["recommendation"]["action"] == "promote"
