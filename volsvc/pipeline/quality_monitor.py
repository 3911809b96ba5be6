"""Scores of the forecasts of all symbols: `/quality`, its metrics, and the guard."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NotRequired, TypedDict

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from volsvc.config.settings import QualitySettings
from volsvc.features import SymbolState, SymbolTable
from volsvc.models import HORIZONS_S, Model
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.quality_metrics import score_families, sigma_family
from volsvc.scoring.guard import Guard
from volsvc.scoring.scores import FITTED, REFERENCE, LossSums, PairedLosses
from volsvc.scoring.sequential_test import (
    LEVEL,
    log_wealth_fitted,
    log_wealth_reference,
    pooled_log_wealth,
)
from volsvc.serving.holder import ModelHolder
from volsvc.serving.quality_guard import QualityGuard

VARIANTS: Final = (REFERENCE, FITTED)
CHECK_INTERVAL_S: Final = 2.0
# Symbols that one answer of /quality lists; `?symbol=` selects any other.
MAX_SYMBOLS: Final = 200
# A sum of log wealth may exceed 709, above which `math.exp` raises OverflowError.
MAX_LOG_WEALTH: Final = 700.0


class ScoreRow(TypedDict):
    """Mean scores of one variant at one horizon, over one symbol or over all without `symbol`."""

    symbol: NotRequired[str]
    variant: str
    horizon_s: float
    n: int
    qlike: float
    coverage: float
    brier: float
    skill: float | None


class GuardRow(TypedDict):
    """The state of the guard, and the losses that it compares."""

    stopped: bool
    overruled: bool
    fallback_ratio: float
    ratio: float | None
    forecasts: int
    least_forecasts: int
    horizon_s: float


class RecommendationRow(TypedDict):
    """The variant that should serve, with the evidence for it."""

    champion: str
    challenger: str
    action: Literal["promote", "keep"]
    e_value: float
    level: float
    pairs: int
    horizon_s: float


class QualityReport(TypedDict):
    """The answer of `/quality` without its time."""

    window_days: int
    guard: GuardRow
    recommendation: RecommendationRow
    scores: list[ScoreRow]
    symbols: list[ScoreRow]
    symbols_left_out: int


class QualityMonitor(Collector):
    """Sums the scores of this instance's symbols, and hands them to the quality guard.

    A fitted model is judged by its own forecasts only, not by those of earlier versions.
    """

    def __init__(
        self,
        table: SymbolTable,
        latest_store: LatestStore,
        holder: ModelHolder,
        settings: QualitySettings,
        horizon_s: float,
    ) -> None:
        """Guard and recommend by the fitted horizon that is nearest in ratio to `horizon_s`."""
        self._table = table
        self._latest_store = latest_store
        self._holder = holder
        self._settings = settings
        distances = [abs(math.log(horizon / horizon_s)) for horizon in HORIZONS_S]
        self._horizon_index = distances.index(min(distances))
        guard = Guard(settings.fallback_ratio, settings.least_forecasts)
        self._quality_guard = QualityGuard(holder, guard, HORIZONS_S[self._horizon_index])

    def _states(self, fitted: Model | None) -> list[SymbolState]:
        """Return the states of symbols whose fitted forecasts are those of the given model."""
        if fitted is None:
            return []
        digest = fitted.digest
        return [state for state in self._table if state.scores.has_model(FITTED, digest)]

    # --- the guard ------------------------------------------------------------------------

    def paired_losses(self) -> PairedLosses:
        """Return the losses of both variants on the same forecasts of all symbols."""
        states = self._states(self._holder.desired.fitted)
        return _sum_losses(state.scores.paired_losses(self._horizon_index) for state in states)

    def check_guard(self) -> None:
        """Have the guard stop or return the fitted model by its losses so far."""
        self._quality_guard.check(self.paired_losses())

    async def run(self) -> None:
        """Check the guard at intervals, until cancelled."""
        while True:
            self.check_guard()
            await asyncio.sleep(CHECK_INTERVAL_S)

    # --- /quality -------------------------------------------------------------------------

    def report(self, symbol: str | None = None) -> QualityReport:
        """Return the scores of one symbol, or of all together and of the first ones by name.

        Raises UnknownSymbolError if there is no such symbol.
        """
        states = (
            [self._table.get(symbol)]
            if symbol
            else sorted(self._table, key=lambda state: state.symbol)
        )
        fitted = self._states(self._holder.desired.fitted)
        compared = [state for state in fitted if symbol in (None, state.symbol)]
        shown = states[:MAX_SYMBOLS]
        return {
            "window_days": self._settings.window_days,
            "guard": self._guard(),
            "recommendation": self._recommendation(compared),
            "scores": _rows(None, states),
            "symbols": [row for state in shown for row in _rows(state.symbol, [state])],
            "symbols_left_out": len(states) - len(shown),
        }

    def _guard(self) -> GuardRow:
        losses, guard = self.paired_losses(), self._quality_guard.guard
        return {
            "stopped": guard.stopped,
            "overruled": guard.overruled,
            "fallback_ratio": guard.ratio,
            "ratio": losses.ratio,
            "forecasts": int(losses.n),
            "least_forecasts": guard.min_forecasts,
            "horizon_s": self._quality_guard.horizon_s,
        }

    def _recommendation(self, states: Sequence[SymbolState]) -> RecommendationRow:
        """Recommend the challenger if the evidence for it suffices, else the present model."""
        champion = self._holder.current.model.variant
        challenger = REFERENCE if champion == FITTED else FITTED
        tests = [state.scores.test(self._horizon_index) for state in states]
        wealth = log_wealth_fitted if challenger == FITTED else log_wealth_reference
        log_wealth = pooled_log_wealth([wealth(test) for test in tests])
        better = log_wealth >= -math.log(LEVEL)
        return {
            "champion": champion,
            "challenger": challenger,
            "action": "promote" if better else "keep",
            "e_value": math.exp(min(log_wealth, MAX_LOG_WEALTH)),
            "level": LEVEL,
            "pairs": sum(int(test.n) for test in tests),
            "horizon_s": HORIZONS_S[self._horizon_index],
        }

    # --- /metrics -------------------------------------------------------------------------

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the metrics of scores and of the newest forecasts."""
        yield from score_families(self._table)
        yield sigma_family(self._latest_store)


def _sum_losses(pairs: Iterable[PairedLosses]) -> PairedLosses:
    total = PairedLosses()
    for losses in pairs:
        total = total.plus(losses)
    return total


def _rows(symbol: str | None, states: Sequence[SymbolState]) -> list[ScoreRow]:
    """Return scores by variant and horizon, over states of one symbol or of all together."""
    rows = []
    for variant in VARIANTS:
        for index, horizon_s in enumerate(HORIZONS_S):
            sums = LossSums()
            for state in states:
                sums = sums.plus(state.scores.loss_sums(variant, index))
            if sums.n:
                losses = _sum_losses(state.scores.paired_losses(index) for state in states)
                rows.append(_row(symbol, variant, horizon_s, sums, losses))
    return rows


def _row(
    symbol: str | None, variant: str, horizon_s: float, sums: LossSums, losses: PairedLosses
) -> ScoreRow:
    # Skill is 1 - QLIKE / QLIKE of the EWMA baseline on the same forecasts.
    ratio = losses.ratio
    skill = 0.0 if variant == REFERENCE else (None if ratio is None else 1 - ratio)
    row: ScoreRow = {
        "variant": variant,
        "horizon_s": horizon_s,
        "n": int(sums.n),
        "qlike": sums.qlike / sums.n,
        "coverage": sums.covered / sums.n,
        "brier": sums.brier / sums.n,
        "skill": skill,
    }
    return row if symbol is None else {"symbol": symbol, **row}
