"""Writes what Prometheus, Alertmanager and Grafana read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from volsvc.monitoring.alertmanager import alertmanager_config
from volsvc.monitoring.dashboards import Dashboard, dashboard_files, provisioning
from volsvc.monitoring.rules import prometheus_config, prometheus_rule, rules
from volsvc.monitoring.spec import Spec

RULES: Final = "rules.yml"
HEAD: Final = "# Made by `volsvc monitoring` from slo.yaml; edit that file instead.\n"


def contents(spec: Spec, dashboards: Sequence[Dashboard]) -> Mapping[str, str]:
    """Every file by its place below the folder."""
    documents = {
        "prometheus/prometheus.yml": prometheus_config(spec, RULES),
        f"prometheus/{RULES}": rules(spec),
        "alertmanager/alertmanager.yml": alertmanager_config(spec),
        "k8s/base/prometheusrule.yaml": prometheus_rule(spec),
    }
    texts = {place: HEAD + _yaml(document) for place, document in documents.items()}
    texts |= {place: _yaml(document) for place, document in provisioning(spec).items()}
    return {**texts, **dashboard_files(dashboards)}


def write(spec: Spec, dashboards: Sequence[Dashboard], folder: Path) -> list[Path]:
    """Write every file below `folder`; returns their paths."""
    paths = []
    for place, text in contents(spec, dashboards).items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        paths.append(path)
    return paths


def _yaml(document: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False, width=100, allow_unicode=True))
