"""The scripts of the workflows: what a release asks for first, and what it publishes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import volsvc
from tests.git import commit, git, repository
from tests.release.environment import ROOT, bare

WORKFLOWS = ROOT / ".github" / "workflows"
NOTES = ROOT / "docs" / "release_notes.md"
# Minutes that the tests of `make test`, or the long ones, may take on a slow day.
SUITE_MINUTES = 90


def workflow(name: str) -> dict[Any, Any]:
    """Return a workflow; its triggers stand under True, as YAML 1.1 reads the word `on`."""
    read: dict[Any, Any] = yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text())
    return read


JOBS: Mapping[str, dict[str, Any]] = workflow("release")["jobs"]


def run_step(job: str, containing: str, folder: Path, **variables: str) -> tuple[int, str]:
    """Run the one step of a job of release.yml whose script has a text; return code and output."""
    (script,) = (s["run"] for s in JOBS[job]["steps"] if containing in s.get("run", ""))
    environment = {**bare(), **variables}
    # As a runner does.
    command = ("bash", "-e", "-c", script)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of a repository whose branch `main` has two commits."""
    commit(repository(tmp_path / "origin"))
    git(tmp_path, "clone", "--quiet", "origin", "clone")
    return tmp_path / "clone"


@pytest.fixture
def gh(tmp_path: Path) -> Mapping[str, str]:
    """Variables that put a `gh` first which keeps its arguments, and answers with $ANSWER."""
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@" > asked\necho "$ANSWER"\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{bare()['PATH']}", "REPOSITORY": "an/owner"}


@pytest.mark.parametrize(("tag", "code"), [(volsvc.__version__, 0), ("9.9.9", 1)])
def test_the_tag_is_that_of_the_version(tag: str, code: int) -> None:
    """A tag of another version than the package's is refused."""
    assert run_step("tag", "__version__", ROOT, TAG=f"v{tag}")[0] == code


def test_the_commit_is_one_of_main(checkout: Path) -> None:
    """The newest commit of main and earlier ones may be released, one of another branch may not."""
    for at in ("origin/main", "origin/main~1"):
        git(checkout, "checkout", "--quiet", "--detach", at)
        assert run_step("tag", "is-ancestor", checkout) == (0, "")
    made = commit(checkout)
    code, output = run_step("tag", "is-ancestor", checkout)
    assert code != 0
    assert f"{made} is not in main" in output


def test_the_whole_history_is_there_to_look_at() -> None:
    """The checkout of that job is no shallow one, and has the branches."""
    (checkout,) = (s for s in JOBS["tag"]["steps"] if "actions/checkout@" in s.get("uses", ""))
    assert checkout["with"]["fetch-depth"] == 0


@pytest.mark.parametrize(("runs", "accepted"), [("1", True), ("0", False), ("", False)])
def test_ci_has_succeeded(runs: str, accepted: bool, checkout: Path, gh: Mapping[str, str]) -> None:
    """Without a run of CI that succeeded for this very commit on main, nothing is released."""
    code, output = run_step("tag", "gh run list", checkout, ANSWER=runs, **gh)
    assert (code == 0) == accepted
    here = git(checkout, "rev-parse", "HEAD")
    assert (f"CI has not succeeded for {here}" in output) == (not accepted)
    asked = (checkout / "asked").read_text()
    for words in (f"--commit {here}", "--branch main", "--event push", "--status success"):
        assert words in asked
    (name,) = re.findall(r"--workflow (\w+)\.yml", asked)
    assert "main" in workflow(name)[True]["push"]["branches"], "it runs for each commit of main"


def test_ci_has_a_verdict_on_each_commit_of_main() -> None:
    """A later push to main does not end the run for an earlier one."""
    group = workflow("ci")["concurrency"]["group"]
    assert "github.event_name == 'push' && github.sha" in group


def needed(job: str) -> set[str]:
    """Return the jobs that have to succeed before a job."""
    needs = JOBS[job].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*map(needed, direct))


def test_nothing_is_built_before_the_tag_is_accepted() -> None:
    """Every other job waits for it; what publishes waits for the build, and for an approval."""
    assert {job for job in JOBS if job != "tag" and "tag" not in needed(job)} == set()
    writing = {job for job, has in JOBS.items() if "write" in has["permissions"].values()}
    assert writing == {"publish", "pypi"}
    for job in writing:
        assert "build" in needed(job)
        assert JOBS[job]["environment"]


def test_pypi_is_for_those_who_have_set_it_up(tmp_path: Path) -> None:
    """Without the variable that the page names nothing is uploaded; with it, distributions only."""
    (variable,) = re.findall(r"^vars\.(\w+) == 'true'$", JOBS["pypi"]["if"])
    assert f"`{variable}`" in (ROOT / "docs" / "releasing.md").read_text()
    assert JOBS["pypi"]["permissions"] == {"id-token": "write"}
    release = tmp_path / "release"
    release.mkdir()
    kept = {"volsvc-1-py3-none-any.whl", "volsvc-1.tar.gz"}
    for name in {*kept, "constraints.txt", "volsvc.cdx.json", "SHA256SUMS"}:
        (release / name).touch()
    assert run_step("pypi", "mv ", tmp_path) == (0, "")
    assert {path.name for path in (tmp_path / "dist").iterdir()} == kept


def test_what_the_notes_name_is_released(tmp_path: Path) -> None:
    """The files that the notes install from are among those of the release, with their sums."""
    (tmp_path / "constraints.txt").write_text("a==1\n")
    wheel = f"volsvc-{volsvc.__version__}-py3-none-any.whl"
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / wheel).touch()
    assert run_step("build", "SHA256SUMS", tmp_path) == (0, "")
    sums = (tmp_path / "dist" / "SHA256SUMS").read_text().splitlines()
    released = {line.partition("  ")[2] for line in sums}
    named = set(re.findall(r"[\w.-]+\.(?:whl|txt|json|gz)\b", NOTES.read_text()))
    assert {wheel, "constraints.txt"} <= named
    assert named <= released
    assert "SHA256SUMS" not in released


def test_a_slow_day_does_not_stop_the_tests() -> None:
    """Each job that runs a whole set of tests has time for it."""
    limits = {}
    for path in WORKFLOWS.glob("*.yml"):
        for job, has in workflow(path.stem)["jobs"].items():
            runs = " ".join(step.get("run", "") for step in has["steps"])
            for target in re.findall(r"make (test\S*)", runs):
                limits[path.stem, job, target] = has["timeout-minutes"]
    assert {target for _, _, target in limits} == {"test", "test-rest", "test-all"}
    parts = {"test-all": 2}
    assert {
        place: limit
        for place, limit in limits.items()
        if limit < parts.get(place[2], 1) * SUITE_MINUTES
    } == {}
