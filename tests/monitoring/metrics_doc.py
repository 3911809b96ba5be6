"""`python -m tests.monitoring.metrics_doc` writes docs/metrics.md from the metrics of a daemon."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from volsvc.config.settings import load_settings
from volsvc.daemon.daemon import Daemon

FILE = Path(__file__).parents[2] / "docs" / "metrics.md"
HEAD = """# Metrics

Everything that `/metrics` has, as Prometheus' text format and as OpenMetrics. Series exist from the
start, at 0, unless a value is not known yet (a lag of Kafka, a score without a judged forecast):
then they are absent, and never a false 0. Labels are bounded: a route is its template, and
`__unmatched__` for all that is none; symbols are at most `features.max_symbols`, and leave with the
symbol. Rules and alerts: [slo.md](slo.md); dashboards: `deploy/grafana`.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
"""


class Family(NamedTuple):
    """A family of metrics, named as its series are."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def families(registry: CollectorRegistry) -> Iterator[Family]:
    """Every family of a registry, those without a series included."""
    for collector in list(registry._collector_to_names):
        for metric in collector.collect():
            labels = getattr(collector, "_labelnames", getattr(metric, "_labelnames", ()))
            if not labels and metric.samples:
                labels = tuple(k for k in metric.samples[0].labels if k not in ("le", "quantile"))
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            yield Family(name, metric.type, tuple(labels), metric.documentation)


def document() -> str:
    """The whole page, from a daemon that has not run."""
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(load_settings(None, {"service": {"data_dir": folder}}))
    found = sorted(set(families(daemon.metrics.registry)))
    lines = [
        f"| `{f.name}` | {f.kind} | {', '.join(f'`{label}`' for label in f.labels)} | {f.text} |"
        for f in found
    ]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(document())
