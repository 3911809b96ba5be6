"""The commands of the pages: their environment, and recipes of make that cannot run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.recipes import Recipes, simple_commands
from tests.docs.shell import ROOT, Stage, commands

# As `make test ARGS=… CONFIG=…` leaves them to the tests that it runs.
LEFT = {
    "ARGS": "--nonsense",
    "CONFIG": "nowhere.toml",
    "MAKEFLAGS": "s -- CONFIG=nowhere.toml ARGS=--nonsense",
    "MAKEOVERRIDES": "${-*-command-variables-*-}",
    "MAKELEVEL": "1",
    "MFLAGS": "-s",
    "WINDOW_SIZE": "7",
    "DATA_FILE": "nothing.csv",
    "VOLSVC_MODEL__VARIANT": "none",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with everything of this checkout, and the environment of the tests as its own."""
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.fixture
def stage(checkout: Path) -> Stage:
    """A stage without servers."""
    return Stage(checkout, "http://127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1")


def test_nothing_comes_in_from_outside(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments of the make that runs the tests, and settings, do not reach a page's make."""
    for name, value in LEFT.items():
        monkeypatch.setenv(name, value)
    environment = stage.environment()
    assert environment.keys() & LEFT.keys() == set()
    recipes = []
    for env in (environment, {**environment, "MAKEFLAGS": LEFT["MAKEFLAGS"]}):
        command = ("make", "-n", "-o", ".venv/.run", "run")
        recipes.append(subprocess.check_output(command, cwd=stage.folder, env=env, text=True))
    assert "--config config.toml" in recipes[0]
    assert "--nonsense" not in recipes[0]
    assert "--config nowhere.toml --nonsense" in recipes[1], "the variable would arrive"


def test_ours_come_first(stage: Stage) -> None:
    """Commands find the programs of this environment, and the rest of the variables."""
    environment = stage.environment()
    assert environment["PATH"].partition(":")[0] == str(Path(sys.executable).parent)
    assert environment["HOME"] == os.environ["HOME"]


def test_a_block_is_split_into_commands() -> None:
    """One command a line; a backslash continues a line; comments are left out."""
    text = "make run  # installs\n\n# nothing\ncurl -s x \\\n  -d '{\"a\": 1}'\n"
    assert list(commands(text)) == ["make run", "curl -s x -d '{\"a\": 1}'"]


def test_a_recipe_is_split_into_simple_commands() -> None:
    """Each program of a line is found: after operators and keywords, behind variables."""
    first = "A=1 one -x && two || { three; } | four \\\n  --y"
    script = f"{first}\nif command -v five >/dev/null; then six; fi"
    programs = [words[0] for words in simple_commands(script)]
    assert programs == ["one", "two", "three", "four", "command", "six"]
    assert list(simple_commands(script))[3] == ["four", "--y"]


MAKEFILE = """
good:
\t.venv/bin/python -m tests.load --seconds 5 && .venv/bin/ruff check .
\tsh tests/install-system.sh no-such-program=package
\tno-such-program --version
no-program:
\tno-such-program --version
no-program-of-ours:
\t.venv/bin/no-such-program
no-module:
\t.venv/bin/python -m tests.nowhere
no-script:
\tsh tests/nowhere.sh
unknown-option:
\t.venv/bin/python -m tests.load --nonsense 5
takes-no-option:
\t.venv/bin/python -m tests.docs.settings --nonsense
unknown-option-of-ours:
\t.venv/bin/volsvc run --nonsense
unknown-command-of-ours:
\t.venv/bin/volsvc nonsense
unknown-option-of-a-tool:
\t.venv/bin/ruff check --nonsense .
no-test:
\t.venv/bin/python -m pytest -q tests/nowhere
no-settings-of-tests:
\t.venv/bin/python -m pytest -q -c tests/nowhere.ini tests/fuzz
unknown-option-of-pytest:
\t.venv/bin/python -m pytest --nonsense tests/fuzz
second-command:
\ttrue && { false || .venv/bin/volsvc run --nonsense; }
"""
# The fault that is found in each recipe.
FAULTS = {
    "no-target": "No rule to make target",
    "no-program": "no-such-program",
    "no-program-of-ours": ".venv/bin/no-such-program",
    "no-module": "no module tests.nowhere",
    "no-script": "no script tests/nowhere.sh",
    "unknown-option": "unrecognized arguments: --nonsense",
    "takes-no-option": "tests.docs.settings takes no arguments",
    "unknown-option-of-ours": "No such option",
    "unknown-command-of-ours": "No such command",
    "unknown-option-of-a-tool": "unexpected argument '--nonsense'",
    "no-test": "tests/nowhere'",
    "no-settings-of-tests": "tests/nowhere.ini'",
    "unknown-option-of-pytest": "unrecognized arguments: --nonsense",
    "second-command": "No such option",
}


@pytest.fixture
def faulty(checkout: Path) -> Path:
    """A checkout with a Makefile of faulty recipes."""
    (checkout / "Makefile").unlink()
    (checkout / "Makefile").write_text(MAKEFILE)
    return checkout


@pytest.mark.long
def test_a_recipe_that_can_run_is_accepted(faulty: Path, stage: Stage) -> None:
    """Programs, modules, scripts and options that exist are accepted."""
    Recipes(faulty, stage.environment()).check("make good")


@pytest.mark.long
@pytest.mark.parametrize(("target", "fault"), FAULTS.items(), ids=FAULTS)
def test_a_recipe_that_cannot_run_is_refused(
    target: str, fault: str, faulty: Path, stage: Stage
) -> None:
    """A missing thing is found, wherever the recipe names it."""
    with pytest.raises(AssertionError, match=re.escape(fault)):
        Recipes(faulty, stage.environment()).check(f"make {target}")
