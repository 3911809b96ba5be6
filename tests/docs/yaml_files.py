"""The YAML blocks of the pages: which file each one shows, and the program that reads the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.deploy.test_linters import BASE, BIN, DEPLOY, built, custom, definitions, run
from tests.needs import LINTERS, need
from volsvc.monitoring.dashboards import read_dashboards
from volsvc.monitoring.spec import read_spec

Reader = Callable[[Path, Path], None]


def place_of(text: str) -> str:
    """Return the file that a block shows, which its first line names in a comment."""
    first = text.partition("\n")[0]
    assert first.startswith("# "), f"begins with {first!r}, not with '# ' and the path of its file"
    return first[2:]


def reader_of(place: str) -> Reader:
    """Return the reader of a file; raises AssertionError if there is none."""
    found = [read for pattern, read in READERS.items() if fnmatch(place, pattern)]
    assert found, f"{place}: no reader in tests/docs/yaml_files.py; it has {list(READERS)}"
    return found[0]


def read_block(text: str, folder: Path) -> None:
    """Write a block to its place in a folder, and read it; raises if its reader refuses it."""
    place = place_of(text)
    path = folder / place
    path.parent.mkdir(parents=True)
    path.write_text(text)
    reader_of(place)(path, folder)


def read_kustomization(path: Path, folder: Path) -> None:
    """Build an overlay beside our base, and check what it makes."""
    shutil.copytree(BASE, path.parent.parent / "base")
    check_resources(built(path.parent), folder)


def read_resources(path: Path, folder: Path) -> None:
    """Check resources of Kubernetes or of an operator."""
    check_resources(list(yaml.safe_load_all(path.read_text())), folder)


def check_resources(resources: list[dict[str, Any]], folder: Path) -> None:
    """Check resources of Kubernetes in strict mode, and others by their operators' definitions."""
    path = folder / "resources.yaml"
    path.write_text(yaml.safe_dump_all([r for r in resources if not custom(r)]))
    run(BIN / "kubernetes-validate", "--strict", path)
    schemas = dict(definitions())
    for resource in filter(custom, resources):
        jsonschema.validate({**resource, "metadata": {}}, schemas[resource["kind"]])


def read_compose(path: Path, folder: Path) -> None:
    """Check services by the schema of compose files."""
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)


def read_workflow(path: Path, folder: Path) -> None:
    """Check a workflow with actionlint, the published schema and zizmor."""
    run(LINTERS / "bin" / "actionlint", "-shellcheck", BIN / "shellcheck", path)
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)
    run(BIN / "zizmor", "--offline", path)


def read_rules(path: Path, folder: Path) -> None:
    """Check groups of rules with promtool."""
    need("promtool")
    run("promtool", "check", "rules", "--lint-fatal", path)


def read_prometheus(path: Path, folder: Path) -> None:
    """Check a configuration of Prometheus beside our rules with promtool."""
    need("promtool")
    shutil.copy(DEPLOY / "prometheus" / "rules.yml", path.parent)
    run("promtool", "check", "config", "--lint-fatal", path)


def read_alertmanager(path: Path, folder: Path) -> None:
    """Check a part of a configuration of Alertmanager, with a route where it has none."""
    need("amtool")
    part = yaml.safe_load(path.read_text())
    receivers = part.get("receivers", [{"name": "page"}])
    whole = {"receivers": receivers, "route": {"receiver": receivers[0]["name"]}, **part}
    path.write_text(yaml.safe_dump(whole))
    run("amtool", "check-config", path)


def read_objectives(path: Path, folder: Path) -> None:
    """Read a part of our objectives, in place of the same keys of deploy/slo.yaml."""
    read_spec(DEPLOY / "slo.yaml", **yaml.safe_load(path.read_text()))


def read_panels(path: Path, folder: Path) -> None:
    """Read dashboards as `volsvc monitoring` does."""
    read_dashboards(path)


READERS: Mapping[str, Reader] = {
    "*/kustomization.yaml": read_kustomization,
    "deploy/k8s/*.yaml": read_resources,
    "*compose*.yaml": read_compose,
    ".github/workflows/*.yml": read_workflow,
    "*/prometheus.yml": read_prometheus,
    "*/prometheus/*.yml": read_rules,
    "*/alertmanager.yml": read_alertmanager,
    "*/slo.yaml": read_objectives,
    "*/dashboards.yaml": read_panels,
}
