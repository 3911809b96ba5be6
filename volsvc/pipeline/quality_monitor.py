"""How our forecasts do, over all symbols: `/quality`, the metrics of quality, and the guard."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from volsvc.config.settings import QualitySettings
from volsvc.features import SymbolState, SymbolTable
from volsvc.models import HORIZONS_S, Model
from volsvc.pipeline.latest_store import LatestStore
from volsvc.scoring.guard import Guard
from volsvc.scoring.scores import FITTED, REFERENCE, Pair, Tally
from volsvc.scoring.sequential_test import LEVEL, pooled
from volsvc.serving.holder import ModelHolder

VARIANTS: Final = (REFERENCE, FITTED)
WATCH_S: Final = 2.0
# Symbols that one answer of /quality lists; `?symbol=` asks for any other.
MOST_SYMBOLS: Final = 200


class QualityMonitor(Collector):
    """Reads the scores of the symbols of this instance; the guard acts on their sum.

    A fitted model is judged by its own forecasts alone: those of earlier versions do not count.
    """

    def __init__(
        self,
        table: SymbolTable,
        latest_store: LatestStore,
        holder: ModelHolder,
        settings: QualitySettings,
        horizon_s: float,
    ) -> None:
        """The guard and the recommendation look at the fitted horizon next to `horizon_s`."""
        self._table = table
        self._latest_store = latest_store
        self._holder = holder
        self._settings = settings
        distances = [abs(math.log(horizon / horizon_s)) for horizon in HORIZONS_S]
        self._at = distances.index(min(distances))
        self.guard = Guard(settings.fallback_ratio, settings.least_forecasts)
        self._judged: Model | None = None

    def _states(self, fitted: Model | None) -> list[SymbolState]:
        """The symbols whose newest fitted forecasts are those of the model that is held."""
        digest = fitted.digest if fitted is not None else None
        by_variant = ((state, state.scores.by_variant.get(FITTED)) for state in self._table)
        return [state for state, book in by_variant if book is not None and book.digest == digest]

    # --- the guard ------------------------------------------------------------------------

    def pair(self) -> Pair:
        """Both variants on the same forecasts, over the window and all symbols."""
        states = self._states(self._holder.desired.fitted)
        return _sum_pairs(state.scores.pair(self._at) for state in states)

    def look(self) -> None:
        """Let the guard judge, and do what it says."""
        desired, guard = self._holder.desired, self.guard
        if desired.fitted is not self._judged:
            if (
                self._judged is None
                or desired.fitted is None
                or (desired.fitted.digest != self._judged.digest)
            ):
                guard.begin()
            self._judged = desired.fitted
        if guard.stopped and desired.stopped is None:
            guard.overrule()
        pair = self.pair()
        verdict = guard.judge(pair)
        if verdict == "stop":
            reason = (
                f"over {pair.n:g} forecasts of {HORIZONS_S[self._at]:g} s the fitted model's "
                f"QLIKE is {pair.ratio:.3g} times the baseline's; quality.fallback_ratio is "
                f"{guard.ratio:g}"
            )
            self._holder.change("guard", stopped=reason)
        elif verdict == "return":
            self._holder.change("guard", "the fitted model is no worse any more", stopped=None)

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(WATCH_S)

    # --- /quality -------------------------------------------------------------------------

    def report(self, symbol: str | None = None) -> dict[str, Any]:
        """The answer of /quality; of one symbol, or of all and of the first by name.

        Raises UnknownSymbolError.
        """
        states = (
            [self._table.get(symbol)]
            if symbol
            else sorted(self._table, key=lambda state: state.symbol)
        )
        judged = [
            s for s in self._states(self._holder.desired.fitted) if symbol in (None, s.symbol)
        ]
        shown = states[:MOST_SYMBOLS]
        return {
            "window_days": self._settings.window_days,
            "guard": self._guard(),
            "recommendation": self._recommendation(judged),
            "scores": _rows(None, states),
            "symbols": [row for state in shown for row in _rows(state.symbol, [state])],
            "symbols_left_out": len(states) - len(shown),
        }

    def _guard(self) -> dict[str, Any]:
        pair = self.pair()
        return {
            "stopped": self.guard.stopped,
            "overruled": self.guard.overruled,
            "fallback_ratio": self.guard.ratio,
            "ratio": pair.ratio,
            "forecasts": int(pair.n),
            "least_forecasts": self.guard.least,
            "horizon_s": HORIZONS_S[self._at],
        }

    def _recommendation(self, states: Sequence[SymbolState]) -> dict[str, Any]:
        """The challenger if the evidence for it is enough; else to keep what serves."""
        champion = self._holder.current.model.variant
        challenger = REFERENCE if champion == FITTED else FITTED
        test = [state.scores.paired[self._at].test for state in states]
        logs = [e.for_fitted if challenger == FITTED else e.for_reference for e in test]
        log_wealth = pooled(logs)
        better = log_wealth >= -math.log(LEVEL)
        return {
            "champion": champion,
            "challenger": challenger,
            "action": "promote" if better else "keep",
            "e_value": math.exp(min(log_wealth, 700.0)),
            "level": LEVEL,
            "pairs": sum(e.n for e in test),
            "horizon_s": HORIZONS_S[self._at],
        }

    # --- /metrics -------------------------------------------------------------------------

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Scores by symbol, horizon and variant; series exist where something was judged."""
        labels = ("symbol", "horizon", "variant")
        qlike = GaugeMetricFamily(
            "volsvc_forecast_qlike", "Mean QLIKE of matured forecasts in the window", labels=labels
        )
        coverage = GaugeMetricFamily(
            "volsvc_interval_coverage_ratio", "Share of outcomes inside the interval", labels=labels
        )
        judged = GaugeMetricFamily(
            "volsvc_forecasts_judged", "Matured forecasts in the window", labels=labels
        )
        for state in self._table:
            for variant in VARIANTS:
                for at, horizon in enumerate(HORIZONS_S):
                    tally = state.scores.tally(variant, at)
                    if tally.n:
                        place = (state.symbol, f"{horizon:g}", variant)
                        judged.add_metric(place, tally.n)
                        qlike.add_metric(place, tally.qlike / tally.n)
                        coverage.add_metric(place, tally.covered / tally.n)
        yield from (judged, qlike, coverage, self._sigmas())

    def _sigmas(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "volsvc_forecast_sigma_annualised_ratio",
            "The newest forecast of a symbol as a yearly volatility",
            labels=("symbol", "horizon"),
        )
        for posted in self._latest_store:
            for said in posted.snapshot.predictions:
                place = (posted.snapshot.row.symbol, f"{said.horizon_s:g}")
                family.add_metric(place, said.sigma_annualised)
        return family


def _sum_pairs(pairs: Iterable[Pair]) -> Pair:
    total = Pair()
    for pair in pairs:
        total = total.plus(pair)
    return total


def _rows(symbol: str | None, states: Sequence[SymbolState]) -> list[dict[str, Any]]:
    """Scores by variant and horizon, of one symbol or of all together."""
    rows = []
    for variant in VARIANTS:
        for at, horizon in enumerate(HORIZONS_S):
            tally = Tally()
            for state in states:
                tally = tally.plus(state.scores.tally(variant, at))
            if tally.n:
                pair = _sum_pairs(state.scores.pair(at) for state in states)
                rows.append(_row(symbol, variant, horizon, tally, pair))
    return rows


def _row(
    symbol: str | None, variant: str, horizon_s: float, tally: Tally, pair: Pair
) -> dict[str, Any]:
    """`skill` is 1 - QLIKE / QLIKE of the EWMA baseline on the same forecasts."""
    ratio = pair.ratio
    skill = 0.0 if variant == REFERENCE else (None if ratio is None else 1 - ratio)
    return {
        **({} if symbol is None else {"symbol": symbol}),
        "variant": variant,
        "horizon_s": horizon_s,
        "n": int(tally.n),
        "qlike": tally.qlike / tally.n,
        "coverage": tally.covered / tally.n,
        "brier": tally.brier / tally.n,
        "skill": skill,
    }
