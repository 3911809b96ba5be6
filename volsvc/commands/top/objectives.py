"""The service level objectives (docs/slo.md) of one daemon since its start.

The live page computes the same shares. Windows of time and alerts are left to Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

REQUESTS: Final = "http_server_request_duration_seconds"
SERIES: Final = (f"{REQUESTS}_count", f"{REQUESTS}_bucket")
# A symbol is fresh if its forecast is at most this old.
FRESH_S: Final = 60.0
# Forecasts that have matured before a coverage is judged: with fewer, chance decides.
MIN_MATURED: Final = 240
# The intervals promise a coverage of 0.9.
MIN_COVERAGE, MAX_COVERAGE = 0.8, 0.98


@dataclass(frozen=True, slots=True)
class ObjectiveInputs:
    """A daemon's metric samples, its answers to /latest and /quality, and the active variant."""

    samples: Sequence[Sample]
    symbols: Sequence[Mapping[str, Any]]
    scores: Sequence[Mapping[str, Any]]
    variant: str


def samples_of(text: str) -> list[Sample]:
    """Return the samples of a text in Prometheus' format."""
    return [s for family in text_string_to_metric_families(text) for s in family.samples]


def total(samples: Sequence[Sample], name: str) -> float | None:
    """Return the sum of a metric over its labels; None if there is no sample."""
    found = [s.value for s in samples if s.name == name]
    return sum(found) if found else None


def _share(good: float, everything: float) -> float | None:
    return good / everything if everything else None


def _available(inputs: ObjectiveInputs) -> float | None:
    # Routes and codes of docs/slo.md; a refusal of the client's (4xx) is no failure of ours.
    counts = [s for s in inputs.samples if s.name == f"{REQUESTS}_count"]
    ours = [s for s in counts if s.labels["http_route"].startswith(("/predict", "/latest"))]
    good = [s for s in ours if not s.labels["http_response_status_code"].startswith("5")]
    return _share(sum(s.value for s in good), sum(s.value for s in ours))


def _within(limit: str) -> Callable[[ObjectiveInputs], float | None]:
    """Return a function for the share of /predict requests within a bucket of the histogram."""

    def share(inputs: ObjectiveInputs) -> float | None:
        ours = [s for s in inputs.samples if s.labels.get("http_route") == "/predict"]
        quick = sum(s.value for s in ours if s.labels.get("le") == limit)
        return _share(quick, sum(s.value for s in ours if s.name == f"{REQUESTS}_count"))

    return share


def _fresh(inputs: ObjectiveInputs) -> float | None:
    return _share(sum(s["age_s"] <= FRESH_S for s in inputs.symbols), len(inputs.symbols))


def _calibrated(inputs: ObjectiveInputs) -> float | None:
    judged = [r for r in inputs.scores if r["variant"] == inputs.variant and r["n"] >= MIN_MATURED]
    good = sum(MIN_COVERAGE <= r["coverage"] <= MAX_COVERAGE for r in judged)
    return _share(good, len(judged))


# Name, objective, and the function for the share that was reached (None without data).
OBJECTIVES: Final[tuple[tuple[str, float, Callable[[ObjectiveInputs], float | None]], ...]] = (
    ("availability", 0.999, _available),
    ("latency", 0.95, _within("0.8")),
    ("latency-tight", 0.99, _within("0.1")),
    ("freshness", 0.99, _fresh),
    ("forecast-quality", 0.9, _calibrated),
)
