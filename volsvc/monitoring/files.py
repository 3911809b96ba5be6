"""Writes the files of Prometheus, Alertmanager and Grafana."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from volsvc.monitoring.alertmanager import alertmanager_config
from volsvc.monitoring.dashboards import Dashboard, dashboard_files, provisioning
from volsvc.monitoring.rules import prometheus_config, prometheus_rule, rules
from volsvc.monitoring.spec import Spec
from volsvc.safe_io.disk import replace_file

RULES: Final = "rules.yml"
HEAD: Final = "# Made by `volsvc monitoring` from slo.yaml; edit that file instead.\n"


def contents(spec: Spec, dashboards: Sequence[Dashboard]) -> Mapping[str, str]:
    """Return the text of every file by its path below the folder."""
    documents = {
        "prometheus/prometheus.yml": prometheus_config(spec, RULES),
        f"prometheus/{RULES}": rules(spec),
        "alertmanager/alertmanager.yml": alertmanager_config(spec),
        "k8s/base/prometheusrule.yaml": prometheus_rule(spec),
    }
    texts = {path: HEAD + _yaml(document) for path, document in documents.items()}
    texts |= {path: _yaml(document) for path, document in provisioning(spec).items()}
    return {**texts, **dashboard_files(dashboards)}


def write(spec: Spec, dashboards: Sequence[Dashboard], folder: Path) -> list[Path]:
    """Write every file below `folder`; return their paths."""
    paths = []
    for relative, text in contents(spec, dashboards).items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
        paths.append(path)
    return paths


def _yaml(document: Mapping[str, Any]) -> str:
    # Imported here, because PyYAML comes with the extra `monitoring` only.
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False, width=100, allow_unicode=True))
