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

The metrics of `/metrics`, which answers in the text format of Prometheus and as OpenMetrics. Rules
and alerts are in [slo.md](slo.md), dashboards in `deploy/grafana`.

- Series exist from the start, at 0. A value that is not known yet (a lag of Kafka, a score without
  a matured forecast) is absent, never a false 0.
- Labels are bounded. A route is its template, or `__unmatched__`. There are at most
  `features.max_symbols` symbols, and the series of a symbol are removed with it.
- `volsvc_journal_errors_total` counts errors of the [audit log](models.md#the-audit-log).

| metric | type | labels | meaning |
| --- | --- | --- | --- |
"""


class Family(NamedTuple):
    """A family of metrics, with the name of its series."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def families(registry: CollectorRegistry) -> Iterator[Family]:
    """Yield every family of a registry, including those without a series."""
    for collector in list(registry._collector_to_names):
        for metric in collector.collect():
            labels = getattr(collector, "_labelnames", getattr(metric, "_labelnames", ()))
            if not labels and metric.samples:
                labels = tuple(k for k in metric.samples[0].labels if k not in ("le", "quantile"))
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            yield Family(name, metric.type, tuple(labels), metric.documentation)


def document() -> str:
    """Return the whole page, from a daemon that has not run."""
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(load_settings(None, {"service": {"data_dir": folder}}))
    found = sorted(set(families(daemon.services.metrics.registry)))
    lines = [
        f"| `{f.name}` | {f.kind} | {', '.join(f'`{label}`' for label in f.labels)} | {f.text} |"
        for f in found
    ]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(document())
