"""Grafana's dashboards and their provisioning, from the table of panels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from volsvc.monitoring.spec import Part, Spec, read_yaml

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, ACROSS = 8, 8, 24
SWAPS: Final = 'increase(volsvc_model_swaps_total{result="ok",instance=~"$instance"}[1m]) > 0'
VARIABLES: Final = (
    ("instance", "label_values(volsvc_build_info, instance)"),
    ("symbol", "label_values(volsvc_forecast_age_seconds, symbol)"),
    ("variant", "label_values(volsvc_predictions_total, variant)"),
)


class Panel(Part):
    """A panel: its title, Grafana's unit, and queries as (PromQL, legend)."""

    title: str
    unit: str
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    queries: tuple[tuple[str, str], ...]


class Row(Part):
    """A row of panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


class Dashboard(Part):
    """A dashboard."""

    uid: str
    title: str
    rows: tuple[Row, ...]


def read_dashboards(path: Path) -> Sequence[Dashboard]:
    """The table of dashboards (deploy/dashboards.yaml); raises SpecError."""
    return read_yaml(path, TypeAdapter(tuple[Dashboard, ...]).validate_python)


def dashboard_files(dashboards: Sequence[Dashboard]) -> Mapping[str, str]:
    """The dashboards as JSON, by place."""
    return {
        f"grafana/dashboards/{dashboard.uid}.json": json.dumps(_json(dashboard), indent=1) + "\n"
        for dashboard in dashboards
    }


def provisioning(spec: Spec) -> Mapping[str, Mapping[str, Any]]:
    """Where Grafana finds its data and its dashboards, by place."""
    source = {
        "name": "Prometheus",
        "type": "prometheus",
        "uid": "prometheus",
        "url": spec.prometheus,
        "access": "proxy",
        "isDefault": True,
    }
    provider = {
        "name": "volsvc",
        "folder": "volsvc",
        "type": "file",
        "options": {"path": spec.dashboards_folder},
    }
    return {
        "grafana/provisioning/datasources/prometheus.yml": {
            "apiVersion": 1,
            "datasources": [source],
        },
        "grafana/provisioning/dashboards/volsvc.yml": {"apiVersion": 1, "providers": [provider]},
    }


def _json(dashboard: Dashboard) -> Mapping[str, Any]:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["volsvc"],
        "schemaVersion": 39,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [{"title": "volsvc", "type": "dashboards", "tags": ["volsvc"], "keepTime": True}],
        "templating": {"list": [_source_variable(), *map(_variable, VARIABLES)]},
        "annotations": {"list": [_swaps()]},
        "panels": list(_panels(dashboard)),
    }


def _source_variable() -> Mapping[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }


def _variable(variable: tuple[str, str]) -> Mapping[str, Any]:
    name, query = variable
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _swaps() -> Mapping[str, Any]:
    return {
        "name": "Model swaps",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": SWAPS,
        "titleFormat": "Model swapped on {{instance}}",
        "textFormat": "{{trigger}}",
    }


def _panels(dashboard: Dashboard) -> Iterator[Mapping[str, Any]]:
    """Rows one below the other, three panels side by side."""
    number, top = 1, 0
    for row in dashboard.rows:
        place = {"h": 1, "w": ACROSS, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}
        number, top = number + 1, top + 1
        for index, panel in enumerate(row.panels):
            x = index * WIDTH % ACROSS
            y = top + index * WIDTH // ACROSS * HEIGHT
            yield _panel(panel, number, {"h": HEIGHT, "w": WIDTH, "x": x, "y": y})
            number += 1
        top += -(-len(row.panels) * WIDTH // ACROSS) * HEIGHT


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> Mapping[str, Any]:
    instant = panel.kind in ("table", "stat")
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": instant,
                "range": not instant,
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for index, (query, legend) in enumerate(panel.queries)
        ],
    }
