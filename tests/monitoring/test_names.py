"""Names in rules, dashboards and docs are those of a live scrape."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import aiohttp
import pytest_asyncio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring import metrics_doc
from tests.needs import need
from tests.web.conftest import in_its_loop
from volsvc.monitoring.dashboards import read_dashboards

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = re.compile(r"\b(?:volsvc|http_server|process|python)_[a-z0-9_]+\b(?!:)")
SUFFIX = re.compile(r"_(bucket|count|sum)$")


def queries() -> list[str]:
    """Return every query of the dashboards, their variables and annotations."""
    found = []
    for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        found += [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())]
        found += [note["expr"] for note in dashboard["annotations"]["list"]]
        found += [
            v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"
        ]
    return found


def named(*texts: str) -> set[str]:
    """Return the families of metrics in PromQL."""
    return {SUFFIX.sub("", name) for text in texts for name in NAME.findall(text)}


@pytest_asyncio.fixture(loop_scope="module")
async def scraped(service: aiohttp.ClientSession) -> set[str]:
    """Return the families of a live scrape; a counter has the name of its series."""
    async with service.get("/metrics") as response:
        text = await response.text()
    names = set()
    for family in text_string_to_metric_families(text):
        names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names


@in_its_loop
async def test_rules_and_dashboards_name_existing_metrics(scraped: set[str]) -> None:
    """Every metric of an alert or a panel is exported."""
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert named(*expressions) - scraped == set()
    assert named(*queries()) - scraped == set()


@in_its_loop
async def test_docs_name_every_metric(scraped: set[str]) -> None:
    """docs/metrics.md has every metric of a live scrape and no other."""
    text = metrics_doc.FILE.read_text()
    documented = set(re.findall(r"^\| `([a-z0-9_]+)` \|", text, re.MULTILINE))
    assert documented == scraped


def test_docs_are_generated_from_the_daemon() -> None:
    """Types, labels and meanings are those of the code."""
    remedy = "run python -m tests.monitoring.metrics_doc"
    assert metrics_doc.FILE.read_text() == metrics_doc.document(), remedy


def test_every_query_is_promql(tmp_path: Path) -> None:
    """Prometheus accepts the query of every panel in a rule."""
    texts = [q for q in queries() if not q.startswith("label_values")]
    rules = [
        {"record": f"panel:{index}", "expr": re.sub(r"\$__(rate_)?interval", "1m", text)}
        for index, text in enumerate(texts)
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    need("promtool")
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_panel_has_a_unit_and_a_legend() -> None:
    """Every panel has a unit, and every query a legend."""
    dashboards = read_dashboards(DEPLOY / "dashboards.yaml")
    assert len({dashboard.uid for dashboard in dashboards}) == len(dashboards) == 4
    for dashboard in dashboards:
        for panel in (panel for row in dashboard.rows for panel in row.panels):
            assert panel.unit, panel.title
            assert all(legend for _, legend in panel.queries), panel.title
