"""The files of deploy/ and .github/ pass the checks of their own tools."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

import volsvc
from tests.deploy.composition import ROOT, example_variables, resolve
from tests.deploy.image import read_images
from tests.docs.blocks import blocks
from tests.needs import LINTERS, need
from volsvc.cli.main import cli
from volsvc.config.settings import load_settings
from volsvc.web.openapi.routes import ROUTES

pytestmark = pytest.mark.long

DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "k8s" / "base"
BIN = Path(sys.executable).parent
PROFILES = ("one", "group")
# Services that do their work and exit.
ONCE = ("models", "monitoring")


def run(*command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a tool and return its output; raises AssertionError with the findings."""
    need("the linters of deploy/", "systemd-analyze")
    done = subprocess.run(command, capture_output=True, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode()


def project(profile: str) -> dict[str, Any]:
    """Return the compose file of one profile."""
    return resolve(DEPLOY / "compose.yaml", {**example_variables(), "COMPOSE_PROFILES": profile})


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    """The resources that kustomize builds from the base."""
    return built(BASE)


def of_kind(manifests: list[dict[str, Any]], kind: str, name: str = "volsvc") -> dict[str, Any]:
    """Return one resource."""
    return next(m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)


def test_dockerfile() -> None:
    """Hadolint has no finding."""
    run(BIN / "hadolint", DEPLOY / "Dockerfile")


def test_images_run_as_a_user_and_say_when_they_are_alive() -> None:
    """Both images run as an unprivileged user, and their health checks request a route of ours."""
    images = read_images()
    assert images["service"].entrypoint == ("volsvc",)
    assert images["mlflow"].entrypoint == ("mlflow",)
    assert "/health/live" in images["service"].health[-1]
    text = (DEPLOY / "Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert re.findall(r"^FROM (?!python:\d+\.\d+\.\d+-|build|base)", text, re.MULTILINE) == []


def test_scripts() -> None:
    """Shellcheck has no finding."""
    scripts = (DEPLOY / "secrets.sh", *ROOT.glob("tests/**/*.sh"), ROOT / ".ci" / "run")
    run(BIN / "shellcheck", *scripts)


def test_compose_is_what_the_specification_says() -> None:
    """The file is valid by the published schema."""
    run(
        *(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec"),
        DEPLOY / "compose.yaml",
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_every_service_is_bounded_watched_and_pinned(profile: str) -> None:
    """Each has limits, a version, no new privileges, and a health check unless it exits soon."""
    images = read_images()
    for name, service in project(profile)["services"].items():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["deploy"]["resources"]["limits"].keys() >= {"cpus", "memory"}, name
        image = images.get(service.get("build", {}).get("target", ""))
        checked = service.get("healthcheck", {}).get("test") or (image and image.health)
        assert name in ONCE or checked, name
        assert name == "redpanda" or (service["read_only"] and service["cap_drop"] == ["ALL"]), name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ())), name


def test_compose_has_no_password_and_asks_for_what_it_needs() -> None:
    """Passwords come from files; without webhooks and targets nothing starts."""
    text = (DEPLOY / "compose.yaml").read_text() + (DEPLOY / ".env.example").read_text()
    assert re.findall(r"(?i)password(?!__FILE)\s*[:=]\s*[^\s{]", text) == []
    for name in ("TARGETS", "PAGE_URL", "TICKET_URL"):
        with pytest.raises(AssertionError, match=name):
            resolve(DEPLOY / "compose.yaml", {**example_variables(), name: ""})


def test_every_variable_of_compose_has_an_example() -> None:
    """deploy/.env.example has the variables that compose.yaml reads, and no other."""
    read = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text()))
    text = (DEPLOY / ".env.example").read_text()
    named = set(re.findall(r"^(?:# )?([A-Z_]+)=", text, re.MULTILINE))
    assert named == read | {"COMPOSE_PROFILES"}


def test_grafana_finds_what_is_made_for_it() -> None:
    """Grafana reads provisioning and dashboards from the paths that `monitoring` writes to."""
    services = project("one")["services"]
    made = dict(word[2:].split("=", 1) for word in services["monitoring"]["command"][1:])
    grafana = services["grafana"]
    assert grafana["environment"]["GF_PATHS_PROVISIONING"] == f"{made['out']}/grafana/provisioning"
    assert made["dashboards-folder"] == f"{made['out']}/grafana/dashboards"
    assert made["out"] in {mount["target"] for mount in grafana["volumes"]}
    assert set(grafana["networks"]) & set(services["prometheus"]["networks"])


def test_manifests_are_what_kubernetes_says(
    manifests: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Every resource of Kubernetes itself is valid by its schema, in strict mode."""
    ours = [m for m in manifests if not custom(m)]
    assert len(ours) > 8
    path = tmp_path / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(ours))
    run(BIN / "kubernetes-validate", "--strict", path)


def custom(manifest: dict[str, Any]) -> bool:
    """Return whether a resource is defined by an operator, and not by Kubernetes."""
    return str(manifest["apiVersion"]).split("/")[0] in ("keda.sh", "monitoring.coreos.com")


def definitions() -> Iterator[tuple[str, Any]]:
    """Yield the schemas of the operators' kinds, from their releases, without unknown keys."""
    for path in (LINTERS / "crds").glob("*.yaml"):
        definition = yaml.safe_load(path.read_text())["spec"]
        for version in definition["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            yield definition["names"]["kind"], closed(schema, top=True)


def closed(schema: Any, top: bool = False) -> Any:
    """Return a schema in which objects have no other than their named properties."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items() if key != "properties"}
    if "(?i)" in schema.get("pattern", ""):
        # Go takes the flag anywhere, Python at the beginning alone.
        inner["pattern"] = "(?i)" + schema["pattern"].replace("(?i)", "")
    if "properties" in schema:
        inner["properties"] = {name: closed(part) for name, part in schema["properties"].items()}
        if not (top or schema.get("x-kubernetes-preserve-unknown-fields")):
            inner.setdefault("additionalProperties", False)
    return inner


def test_operators_resources_are_what_they_say(manifests: list[dict[str, Any]]) -> None:
    """ScaledObject, ServiceMonitor and PrometheusRule are valid by their operators' definitions."""
    schemas = dict(definitions())
    resources = [m for m in manifests if custom(m)]
    assert (
        {m["kind"] for m in resources}
        == set(schemas)
        == {
            "ScaledObject",
            "ServiceMonitor",
            "PrometheusRule",
        }
    )
    for resource in resources:
        jsonschema.validate({**resource, "metadata": {}}, schemas[resource["kind"]])


def test_probes_ask_routes_that_need_no_key(manifests: list[dict[str, Any]]) -> None:
    """The path of each probe is a route without a scope."""
    free = {route.path for route in ROUTES if route.scope is None}
    for kind, name in (("StatefulSet", "volsvc"), ("Deployment", "volsvc-feed")):
        (container,) = of_kind(manifests, kind, name)["spec"]["template"]["spec"]["containers"]
        probes = [container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")]
        assert {probe["httpGet"]["path"] for probe in probes} <= free


def test_kubernetes_settings_fit_the_service_and_one_another(
    manifests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The config map loads, each instance has a partition, KEDA watches our group and topic."""
    monkeypatch.chdir(tmp_path)
    settings = load_settings(BASE / "config.toml", {"service": {"roles": "consumer,api"}})
    scaled = of_kind(manifests, "ScaledObject")["spec"]
    (trigger,) = scaled["triggers"]
    assert scaled["maxReplicaCount"] == settings.kafka.partitions
    assert trigger["metadata"]["topic"] == settings.kafka.topic
    assert trigger["metadata"]["consumerGroup"] == settings.kafka.group_id
    assert trigger["metadata"]["bootstrapServers"] == settings.kafka.bootstrap_servers
    pod = of_kind(manifests, "StatefulSet")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > settings.service.shutdown_timeout_s + 5


def built(overlay: Path) -> list[dict[str, Any]]:
    """Return the resources that kustomize builds from a folder."""
    return list(yaml.safe_load_all(run(LINTERS / "bin" / "kustomize", "build", overlay)))


def test_a_cluster_without_operators_has_an_overlay(manifests: list[dict[str, Any]]) -> None:
    """The overlay has every resource of the base but those of the operators."""
    plain = built(BASE.parent / "without-operators")
    assert plain == [m for m in manifests if not custom(m)]


def test_the_overlay_of_the_setup_page_is_one(tmp_path: Path) -> None:
    """The overlay of docs/setup.md builds beside the base, with its image in every pod."""
    shutil.copytree(BASE, tmp_path / "base")
    (block,) = [b for b in blocks(ROOT / "docs" / "setup.md") if b.language == "yaml"]
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "kustomization.yaml").write_text(block.text)
    pods = [m for m in built(tmp_path / "ours") if m["kind"] in ("StatefulSet", "Deployment")]
    images = {m["spec"]["template"]["spec"]["containers"][0]["image"] for m in pods}
    assert images == {f"registry.example/volsvc:{volsvc.__version__}"}


def taken(arguments: Sequence[str]) -> bool:
    """Return whether the command line accepts these arguments, without running the command."""
    name, *options = arguments
    with get_command(cli).commands[name].make_context(name, options):  # type: ignore[attr-defined]
        return True


def test_every_command_line_is_one_of_ours(manifests: list[dict[str, Any]]) -> None:
    """Pods, compose and the unit call commands of ours, with valid options."""
    for kind, name in (("StatefulSet", "volsvc"), ("Deployment", "volsvc-feed")):
        (container,) = of_kind(manifests, kind, name)["spec"]["template"]["spec"]["containers"]
        assert taken(container["args"])
    for profile in PROFILES:
        for service in project(profile)["services"].values():
            if service["image"].startswith("volsvc:"):
                assert taken(service["command"])
    unit = (DEPLOY / "systemd" / "volsvc.service").read_text()
    assert taken(re.findall(r"^ExecStart=\S+/volsvc (.*)$", unit, re.MULTILINE)[0].split())


def test_prometheus_rules_are_those_of_prometheus(manifests: list[dict[str, Any]]) -> None:
    """A cluster has the alerting rules of a single machine."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    assert of_kind(manifests, "PrometheusRule")["spec"] == rules


def test_unit_is_one_of_systemd_and_closed(tmp_path: Path) -> None:
    """Systemd accepts the unit, and rates its exposure as low."""
    text = (DEPLOY / "systemd" / "volsvc.service").read_text()
    unit = tmp_path / "volsvc.service"
    unit.write_text(text.replace("/opt/volsvc/bin/volsvc", str(BIN / "volsvc")))
    environment = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning"}
    run("systemd-analyze", "verify", unit, env=environment)
    run("systemd-analyze", "security", "--offline=yes", "--threshold=20", unit)


def test_workflows() -> None:
    """Actionlint (with shellcheck), the published schema and zizmor have no finding."""
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(workflows) >= 2
    run(LINTERS / "bin" / "actionlint", "-shellcheck", BIN / "shellcheck", *workflows)
    run(
        *(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows"),
        *workflows,
    )
    run(BIN / "zizmor", "--offline", *workflows)
