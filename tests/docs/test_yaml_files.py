"""YAML blocks of the pages are accepted by the programs that read such files."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import ValidationError

from tests.docs.blocks import ROOT, Block, of
from tests.docs.yaml_files import read_block
from volsvc.domain import VolsvcError
from volsvc.monitoring.spec import SpecError

pytestmark = pytest.mark.long


@pytest.mark.parametrize("block", of("yaml"))
def test_yaml_files(block: Block, tmp_path: Path) -> None:
    """A file, or a part of it, is accepted by the program that reads it."""
    read_block(block.text, tmp_path)


OVERLAY = "resources: [../base]\nimages:\n  - { name: volsvc, newName: a.example/volsvc }\n"
# A file of ours that a page could show, and a fault in it.
YAML_FAULTS = {
    "deploy/k8s/ours/kustomization.yaml": ("../base", "../nowhere"),
    "deploy/k8s/base/service.yaml": ("spec:", "spek:"),
    "deploy/k8s/base/scaledobject.yaml": ("maxReplicaCount", "maxReplicas"),
    "deploy/compose.yaml": ("image:", "picture:"),
    ".github/workflows/ci.yml": ("runs-on:", "runs_on:"),
    "deploy/prometheus/prometheus.yml": ("scrape_interval", "scrap_interval"),
    "deploy/prometheus/rules.yml": ("expr:", "query:"),
    "deploy/alertmanager/alertmanager.yml": ("receiver: page", "receiver: pager"),
    "deploy/slo.yaml": ("objective:", "goal:"),
    "deploy/dashboards.yaml": ("title:", "name:"),
}


@pytest.mark.parametrize("place", YAML_FAULTS)
def test_faults_of_yaml_files_are_found(place: str, tmp_path: Path) -> None:
    """Each of our files is accepted, and refused with a fault."""
    path, (old, new) = ROOT / place, YAML_FAULTS[place]
    text = f"# {place}\n{path.read_text() if path.exists() else OVERLAY}"
    assert old in text
    read_block(text, tmp_path / "good")
    with pytest.raises((AssertionError, ValidationError, VolsvcError)):
        read_block(text.replace(old, new), tmp_path / "faulty")


def test_a_part_of_a_file_is_put_into_a_whole_one(tmp_path: Path) -> None:
    """Parts of Alertmanager's configuration and of the objectives are accepted."""
    read_block("# alerts/alertmanager.yml\nreceivers: [{ name: a }]\n", tmp_path / "receivers")
    read_block("# mine/slo.yaml\nleast_requests: 50\n", tmp_path / "objectives")
    with pytest.raises(SpecError, match="least_requests"):
        read_block("# mine/slo.yaml\nleast_requests: many\n", tmp_path / "faulty")


@pytest.mark.parametrize("text", ["a: 1\n", "# elsewhere/a.yaml\na: 1\n"])
def test_a_yaml_block_names_its_file(text: str, tmp_path: Path) -> None:
    """A block without the path of its file, or of a file that nobody reads, is refused."""
    with pytest.raises(AssertionError, match=r"path of its file|no reader"):
        read_block(text, tmp_path)
