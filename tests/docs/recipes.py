"""The recipe of a make target, checked without running it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from tests.waiting import PATIENCE

BIN = Path(sys.executable).parent
# Targets of make that install; the environment of the tests is installed already.
STAMPS = (
    f".venv/.{extras}{stamp}" for extras in ("run", "test", "dev") for stamp in ("", "-kernels")
)
MADE = tuple(word for stamp in STAMPS for word in ("-o", stamp))
KEYWORDS = {"if", "then", "else", "fi", "!", "{", "}"}
CHECK_S = 60.0
# Runs a module until it has parsed its command line.
PARSE = """
import argparse, runpy, sys

parse = argparse.ArgumentParser.parse_args

def parse_only(*given, **named):
    parse(*given, **named)
    sys.exit()

argparse.ArgumentParser.parse_args = parse_only
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def simple_commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell script, without variables set before it."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        words: list[str] = []
        for word in (*lexer, ";"):
            if set(word) <= set(";&|()"):
                if words:
                    yield words
                words = []
            elif words or not (word in KEYWORDS or re.match(r"\w+=", word)):
                words.append(word)


class Recipes:
    """Checks commands in a folder: everything that they name has to be there.

    What an earlier command of the same recipe installs, or looks for, may be missing.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._installed: set[str] = set()

    def check(self, command: str) -> None:
        """Check a call of make; raises AssertionError if its target or its recipe cannot run."""
        self._installed = set()
        target, *rest = shlex.split(command.removeprefix("make "))
        for words in simple_commands(self._run("make", "-n", *MADE, target, *rest)):
            self.check_words(words)

    def check_words(self, words: Sequence[str]) -> None:
        """Check one simple command."""
        program, *rest = words
        if program == "command":
            self._installed.add(rest[1])
        if program == "command" or program.split("/bin/")[0] in self._installed:
            return
        self._run("bash", "-c", 'command -v -- "$0"', program)
        if program == "sh":
            self._check_script(*rest)
        elif rest[:1] == ["-m"]:
            self._check_module(program, *rest[1:])
        elif program.startswith(".venv/bin/"):
            # These programs refuse unknown commands and options before they show their help.
            self._run(*words, "--help")

    def _check_script(self, script: str, *arguments: str) -> None:
        assert (self._folder / script).is_file(), f"no script {script}"
        if script.endswith("install-system.sh"):
            self._installed |= {pair.partition("=")[0] for pair in arguments}

    def _check_module(self, python: str, module: str, *arguments: str) -> None:
        spec = find_spec(module)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = find_spec(f"{module}.__main__")
        assert spec is not None, f"no module {module}"
        assert spec.origin is not None
        if module == "venv":
            self._installed.add(arguments[0])
        elif module == "pytest":
            self._check_pytest(python, *arguments)
        elif arguments and module != "pip":
            assert "ArgumentParser(" in Path(spec.origin).read_text(), (
                f"{module} takes no arguments"
            )
            self._run(python, "-c", PARSE, module, *arguments)

    def _check_pytest(self, python: str, *arguments: str) -> None:
        missing = [w for w in arguments if "/" in w and not (self._folder / w).exists()]
        assert missing == [], f"not there: {missing}"
        nothing = ("--collect-only", "-q", "--ignore-glob=*")
        self._run(python, "-m", "pytest", *arguments, *nothing, ends=(0, 5))

    def _run(self, *command: str, ends: Sequence[int] = (0,)) -> str:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE * CHECK_S,
        )
        assert done.returncode in ends, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout
