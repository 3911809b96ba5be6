"""The version of the package, in every file that repeats it."""

from __future__ import annotations

import pytest

import volsvc
from tests.release.environment import ROOT
from tests.release.version import MENTION, outdated, places, written


def test_every_file_names_the_present_version() -> None:
    """Manifests, recipes and pages name the version of the package."""
    assert list(outdated()) == [], "run python -m tests.release.version"


@pytest.mark.parametrize(
    "text",
    [
        "image: volsvc:{}",
        "--tag volsvc-mlflow:{} .",
        "    newTag: {}",
        "{{ name: volsvc, newName: registry.example/volsvc, newTag: {} }}",
        "pip install './volsvc-{}-py3-none-any.whl[mlflow]'",
        "# volsvc {}",
    ],
)
def test_a_name_of_ours_has_the_version(text: str) -> None:
    """Images, tags, wheels and titles are found, and follow the package."""
    assert written(text.format("0.1.0")) == text.format(volsvc.__version__)


def test_versions_of_others_stay() -> None:
    """Images and packages of others are not ours to number."""
    text = "prom/prometheus:v3.13.3\ngrafana/grafana:12.4.4\nMLflow 3.17.0, volsvc models, 1.0.0"
    assert written(text) == text


def test_the_files_that_name_it_are_looked_at() -> None:
    """The images of compose and of Kubernetes, and the pages that install, are among them."""
    naming = {str(p.relative_to(ROOT)) for p in places() if MENTION.search(p.read_text())}
    assert naming >= {
        "deploy/Dockerfile",
        "deploy/compose.yaml",
        "deploy/k8s/base/kustomization.yaml",
        "docs/release_notes.md",
        "docs/setup.md",
    }
