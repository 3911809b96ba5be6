"""A missing tool is named once, and is a failure in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import NEEDS, ROOT, need, require

INSTALL = ROOT / "tests" / "install-system.sh"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any program but a shell."""
    (tmp_path / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", [name for name, need in NEEDS.items() if need.programs])
def test_what_lacks_skips_a_test_with_the_way_to_get_it(name: str) -> None:
    """A test whose program is missing is skipped; the reason says how to install it."""
    with pytest.raises(pytest.skip.Exception, match="apt-get install"):
        need(name)


def test_a_missing_broker_is_one_line_of_the_summary(tmp_path: Path) -> None:
    """However many tests are skipped for it, and though a fixture skips them."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    command = [sys.executable, "-m", "pytest", "-n0", "-m", "not long", "tests/kafka/test_bus.py"]
    done = subprocess.run(
        [*command, "tests/kafka/test_restore.py"],
        cwd=ROOT,
        env={**environment, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert done.returncode == 0
    assert len(lines) == 1, done.stdout
    assert "needs a Kafka broker: apt-get install default-jre-headless maven" in lines[0]


@pytest.mark.usefixtures("bare")
def test_in_ci_what_lacks_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CI set, nothing is skipped."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs kcat"):
        need("kcat")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_packages_that_cannot_be_installed_are_named(ci: str, code: int) -> None:
    """Without apt the packages are named; only CI stops there."""
    command = ("sh", INSTALL, "volsvc-lacks-this=a-package", "sh=dash")
    done = subprocess.run(command, env={**os.environ, "CI": ci}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == "not installed: a-package (there is no apt-get here)\n"


@pytest.mark.usefixtures("bare")
def test_a_measurement_ends_with_the_way_to_get_what_lacks() -> None:
    """Each missing program is named; nothing happens where none is missing."""
    with pytest.raises(SystemExit, match="needs wrk: apt-get install wrk\nneeds hey: "):
        require("wrk", "hey")
    require()
