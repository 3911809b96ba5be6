"""Files made from the objectives, checked by tools of Prometheus and Alertmanager."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.needs import need
from tests.waiting import PATIENCE
from volsvc.monitoring.dashboards import read_dashboards
from volsvc.monitoring.files import contents, write
from volsvc.monitoring.rules import rules
from volsvc.monitoring.spec import SpecError, read_spec

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SPEC = read_spec(DEPLOY / "slo.yaml")
DASHBOARDS = read_dashboards(DEPLOY / "dashboards.yaml")


def ran(*command: str) -> str:
    """Return the output of a command that succeeds."""
    need(command[0])
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE * 110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> set[str]:
    """Return the names of all alerts."""
    return {rule["alert"] for g in rules(SPEC)["groups"] for rule in g["rules"] if "alert" in rule}


def test_files_are_what_the_objectives_make() -> None:
    """The files in deploy/ are those that the command writes."""
    for path, text in contents(SPEC, DASHBOARDS).items():
        assert (DEPLOY / path).read_text() == text, f"{path}: run volsvc monitoring"


def test_promtool_accepts_configuration_and_rules() -> None:
    """Prometheus accepts its configuration and every rule."""
    ran("promtool", "check", "config", "deploy/prometheus/prometheus.yml")


@pytest.mark.long
def test_rules_do_what_they_say() -> None:
    """The unit tests of promtool pass: burns, no traffic, counter resets, absence."""
    ran("promtool", "test", "rules", "deploy/prometheus/rules_test.yml")


def test_every_alert_is_seen_to_fire() -> None:
    """Every alert fires in a unit test."""
    fired = set(
        re.findall(r'alertname="(\w+)"', (DEPLOY / "prometheus/rules_test.yml").read_text())
    )
    assert fired == alerts()


def test_every_alert_has_a_section_in_the_runbook() -> None:
    """The runbook has one section for every alert, and none for any other."""
    text = (ROOT / "docs" / "runbook.md").read_text()
    assert set(re.findall(r"^## (Volsvc\w+)$", text, re.MULTILINE)) == alerts()


@pytest.mark.parametrize(("severity", "receiver"), [("page", "page"), ("ticket", "ticket")])
def test_alerts_are_routed_by_severity(severity: str, receiver: str) -> None:
    """A page goes to the pager, everything else to tickets."""
    file = "--config.file=deploy/alertmanager/alertmanager.yml"
    label = f"severity={severity}"
    assert ran("amtool", "config", "routes", "test", file, label).strip() == receiver


def test_amtool_accepts_the_configuration() -> None:
    """Alertmanager accepts its configuration."""
    ran("amtool", "check-config", "deploy/alertmanager/alertmanager.yml")


def test_inhibitions_name_alerts_that_exist() -> None:
    """Both sides of every inhibition are existing alerts."""
    assert len(SPEC.inhibitions) > 2
    for rule in SPEC.inhibitions:
        assert set(rule.by) <= alerts()
        assert all(any(re.fullmatch(quiet, name) for name in alerts()) for quiet in rule.quiet)


def test_a_rehearsal_divides_every_duration(tmp_path: Path) -> None:
    """With `faster` no window of days is left, and the files stay valid."""
    write(read_spec(DEPLOY / "slo.yaml", faster=60), DASHBOARDS, tmp_path)
    text = (tmp_path / "prometheus/rules.yml").read_text()
    windows = set(re.findall(r"_count{[^}]*}\[(\w+)\]", text))
    assert {"5s", "30s", "1m", "2m", "6m", "24m", "72m"} <= windows
    assert not re.search(r"\[\d+d\]", text)
    ran("promtool", "check", "config", str(tmp_path / "prometheus/prometheus.yml"))
    ran("amtool", "check-config", str(tmp_path / "alertmanager/alertmanager.yml"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"period": "a month"}, "period"),
        ({"typo": 1}, "typo"),
        ({"objectives": [{"name": "a", "description": "", "objective": 0.9}]}, "objectives.0"),
        ({"objectives": [{"name": "a", "description": "", "objective": 2, "gauge": "x"}]}, "0.obj"),
    ],
)
def test_a_faulty_file_is_refused(change: dict[str, object], named: str) -> None:
    """The error names the key that is not valid."""
    with pytest.raises(SpecError, match=named):
        read_spec(DEPLOY / "slo.yaml", **change)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    """Errors of a missing and of a broken file name the fault."""
    with pytest.raises(SpecError, match="cannot be read"):
        read_spec(tmp_path / "none.yaml")
    (tmp_path / "torn.yaml").write_text("a: [1")
    with pytest.raises(SpecError, match="not valid YAML"):
        read_spec(tmp_path / "torn.yaml")
    (tmp_path / "list.yaml").write_text(yaml.dump([1]))
    with pytest.raises(SpecError, match="not a mapping"):
        read_spec(tmp_path / "list.yaml")
