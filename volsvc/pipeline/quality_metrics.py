"""Metric families of forecasts and their scores, made when `/metrics` is scraped."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily

from volsvc.features import SymbolState
from volsvc.models import HORIZONS_S
from volsvc.pipeline.latest_store import LatestEntry
from volsvc.scoring.scores import FITTED, REFERENCE


def score_families(states: Iterable[SymbolState]) -> list[GaugeMetricFamily]:
    """Return scores by symbol, horizon and variant, with series where a forecast has matured."""
    labels = ("symbol", "horizon", "variant")
    judged = GaugeMetricFamily(
        "volsvc_forecasts_judged", "Matured forecasts in the window", labels=labels
    )
    qlike = GaugeMetricFamily(
        "volsvc_forecast_qlike", "Mean QLIKE of matured forecasts in the window", labels=labels
    )
    coverage = GaugeMetricFamily(
        "volsvc_interval_coverage_ratio", "Share of outcomes inside the interval", labels=labels
    )
    for state in states:
        for variant in (REFERENCE, FITTED):
            for index, horizon_s in enumerate(HORIZONS_S):
                sums = state.scores.loss_sums(variant, index)
                if sums.n:
                    values = (state.symbol, f"{horizon_s:g}", variant)
                    judged.add_metric(values, sums.n)
                    qlike.add_metric(values, sums.qlike / sums.n)
                    coverage.add_metric(values, sums.covered / sums.n)
    return [judged, qlike, coverage]


def sigma_family(entries: Iterable[LatestEntry]) -> GaugeMetricFamily:
    """Return the newest annualised volatility forecasts by symbol and horizon."""
    family = GaugeMetricFamily(
        "volsvc_forecast_sigma_annualised_ratio",
        "The newest forecast of a symbol as a yearly volatility",
        labels=("symbol", "horizon"),
    )
    for entry in entries:
        for prediction in entry.snapshot.predictions:
            values = (entry.snapshot.row.symbol, f"{prediction.horizon_s:g}")
            family.add_metric(values, prediction.sigma_annualised)
    return family
