"""How far the objectives (docs/slo.md) were kept since a daemon started, at a glance.

Alerts look at windows of time and are Prometheus' business. The live page says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

REQUESTS: Final = "http_server_request_duration_seconds"
SERIES: Final = (f"{REQUESTS}_count", f"{REQUESTS}_bucket")
FRESH_S: Final = 60.0
LEAST_JUDGED: Final = 240
LEAST_COVERAGE, MOST_COVERAGE = 0.8, 0.98


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a daemon: its samples, the answers of /latest and /quality, who serves."""

    samples: Sequence[Sample]
    symbols: Sequence[Mapping[str, Any]]
    scores: Sequence[Mapping[str, Any]]
    variant: str


def samples_of(text: str) -> list[Sample]:
    """The samples of Prometheus' text format."""
    return [s for family in text_string_to_metric_families(text) for s in family.samples]


def total(samples: Sequence[Sample], name: str) -> float | None:
    """The sum of a metric over its labels; None where there is none."""
    found = [s.value for s in samples if s.name == name]
    return sum(found) if found else None


def _share(good: float, everything: float) -> float | None:
    return good / everything if everything else None


def _available(known: Known) -> float | None:
    counts = [s for s in known.samples if s.name == f"{REQUESTS}_count"]
    ours = [s for s in counts if s.labels["http_route"].startswith(("/predict", "/latest"))]
    good = [s for s in ours if not s.labels["http_response_status_code"].startswith("5")]
    return _share(sum(s.value for s in good), sum(s.value for s in ours))


def _within(limit: str) -> Callable[[Known], float | None]:
    def share(known: Known) -> float | None:
        ours = [s for s in known.samples if s.labels.get("http_route") == "/predict"]
        quick = sum(s.value for s in ours if s.labels.get("le") == limit)
        return _share(quick, sum(s.value for s in ours if s.name == f"{REQUESTS}_count"))

    return share


def _fresh(known: Known) -> float | None:
    return _share(sum(s["age_s"] <= FRESH_S for s in known.symbols), len(known.symbols))


def _honest(known: Known) -> float | None:
    judged = [r for r in known.scores if r["variant"] == known.variant and r["n"] >= LEAST_JUDGED]
    good = sum(LEAST_COVERAGE <= r["coverage"] <= MOST_COVERAGE for r in judged)
    return _share(good, len(judged))


# Name, promise, and the share that was kept (None without data).
OBJECTIVES: Final[tuple[tuple[str, float, Callable[[Known], float | None]], ...]] = (
    ("availability", 0.999, _available),
    ("latency", 0.95, _within("0.8")),
    ("latency-tight", 0.99, _within("0.1")),
    ("freshness", 0.99, _fresh),
    ("forecast-quality", 0.9, _honest),
)
