"""Dashboards of Grafana and their provisioning, from the table of panels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from volsvc.monitoring.spec import Part, Spec, read_yaml

# The data source chosen at the top of the dashboard, so that the files hold no address.
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
# Grafana's grid is 24 units wide: three panels of this size stand side by side.
WIDTH, HEIGHT, GRID_WIDTH = 8, 8, 24
SWAPS: Final = 'increase(volsvc_model_swaps_total{result="ok",instance=~"$instance"}[1m]) > 0'
VARIABLES: Final = (
    ("instance", "label_values(volsvc_build_info, instance)"),
    ("symbol", "label_values(volsvc_forecast_age_seconds, symbol)"),
    ("variant", "label_values(volsvc_predictions_total, variant)"),
)


class Panel(Part):
    """A panel: title, unit in Grafana's terms, and queries as (PromQL, legend)."""

    title: str
    unit: str
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    queries: tuple[tuple[str, str], ...]


class Row(Part):
    """A row of panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


class Dashboard(Part):
    """A dashboard: its address (`uid`), title and rows."""

    uid: str
    title: str
    rows: tuple[Row, ...]


def read_dashboards(path: Path) -> Sequence[Dashboard]:
    """Return the table of dashboards (deploy/dashboards.yaml); raises SpecError."""
    return read_yaml(path, TypeAdapter(tuple[Dashboard, ...]).validate_python)


def dashboard_files(dashboards: Sequence[Dashboard]) -> Mapping[str, str]:
    """Return the dashboards as JSON, by path."""
    return {
        f"grafana/dashboards/{dashboard.uid}.json": json.dumps(_json(dashboard), indent=1) + "\n"
        for dashboard in dashboards
    }


def provisioning(spec: Spec) -> Mapping[str, Mapping[str, Any]]:
    """Return the files by which Grafana finds its data and its dashboards, by path."""
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
        # 2: when the time range changes, so that symbols of that range are listed.
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        # One pattern, because the list of every symbol would make queries too long.
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
    """Yield rows one below the other, each a heading and its panels."""
    number, top = 1, 0
    for row in dashboard.rows:
        position = {"h": 1, "w": GRID_WIDTH, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": row.title, "gridPos": position, "panels": []}
        number, top = number + 1, top + 1
        for index, panel in enumerate(row.panels):
            x = index * WIDTH % GRID_WIDTH
            y = top + index * WIDTH // GRID_WIDTH * HEIGHT
            yield _panel(panel, number, {"h": HEIGHT, "w": WIDTH, "x": x, "y": y})
            number += 1
        # Rounded up: the last line of panels may not be full.
        top += -(-len(row.panels) * WIDTH // GRID_WIDTH) * HEIGHT


def _panel(panel: Panel, number: int, position: Mapping[str, int]) -> Mapping[str, Any]:
    # Tables and single numbers show the newest value and need no range.
    instant = panel.kind in ("table", "stat")
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": position,
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
