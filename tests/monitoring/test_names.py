"""Every name in rules, dashboards and docs is one of a live scrape, and the other way round."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring import metrics_doc
from volsvc.monitoring.dashboards import read_dashboards

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = re.compile(r"\b(?:volsvc|http_server|process|python)_[a-z0-9_]+\b(?!:)")
SUFFIX = re.compile(r"_(bucket|count|sum)$")


def queries() -> list[str]:
    """Every query of the dashboards, their variables and annotations."""
    found = []
    for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        found += [t["expr"] for panel in board["panels"] for t in panel.get("targets", ())]
        found += [note["expr"] for note in board["annotations"]["list"]]
        found += [v["query"]["query"] for v in board["templating"]["list"] if v["type"] == "query"]
    return found


def named(*texts: str) -> set[str]:
    """The metrics that PromQL speaks of, as families."""
    return {SUFFIX.sub("", name) for text in texts for name in NAME.findall(text)}


@pytest.fixture
async def scraped(service: aiohttp.ClientSession) -> set[str]:
    """The families of a live scrape; a counter is named as its series are."""
    async with service.get("/metrics") as response:
        text = await response.text()
    names = set()
    for family in text_string_to_metric_families(text):
        names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names


async def test_rules_and_dashboards_name_what_is_there(scraped: set[str]) -> None:
    """No alert and no panel looks at a metric that nobody exports."""
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert named(*expressions) - scraped == set()
    assert named(*queries()) - scraped == set()


async def test_docs_name_what_is_there_and_all_of_it(scraped: set[str]) -> None:
    """docs/metrics.md has every metric of a live scrape, and no other."""
    text = metrics_doc.FILE.read_text()
    documented = set(re.findall(r"^\| `([a-z0-9_]+)` \|", text, re.MULTILINE))
    assert documented == scraped


def test_docs_are_what_the_daemon_says() -> None:
    """Types, labels and meanings are those of the code."""
    told = "run python -m tests.monitoring.metrics_doc"
    assert metrics_doc.FILE.read_text() == metrics_doc.document(), told


def test_every_query_is_promql(tmp_path: Path) -> None:
    """Each panel's query, put into a rule, is one that Prometheus takes."""
    texts = [q for q in queries() if not q.startswith("label_values")]
    rules = [
        {"record": f"panel:{at}", "expr": re.sub(r"\$__(rate_)?interval", "1m", text)}
        for at, text in enumerate(texts)
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_panel_has_a_unit_and_a_legend() -> None:
    """What a panel shows, and in what, is said."""
    boards = read_dashboards(DEPLOY / "dashboards.yaml")
    assert len({board.uid for board in boards}) == len(boards) == 4
    for board in boards:
        for panel in (panel for row in board.rows for panel in row.panels):
            assert panel.unit, panel.title
            assert all(legend for _, legend in panel.queries), panel.title
