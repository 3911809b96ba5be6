"""The needs of tests besides Python packages: programs and files, and the way to get each."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
# True if kernels are not compiled, but plain Python.
PLAIN_PYTHON = os.environ.get("NUMBA_DISABLE_JIT") == "1"
KAFKA_LIBS = ROOT / ".cache" / "kafka" / "libs"
LINTERS = ROOT / ".cache" / "lint"


class Need(NamedTuple):
    """Alternatives of a program, or a file that is made last, and the command that installs it."""

    programs: tuple[str, ...]
    made: Path | None
    get: str

    @property
    def met(self) -> bool:
        """True if the machine has one of the programs, and what was made."""
        found = not self.programs or any(map(shutil.which, self.programs))
        return found and (self.made is None or self.made.exists())


def _package(program: str, package: str | None = None) -> Need:
    return Need((program,), None, f"apt-get install {package or program}")


NEEDS = {
    "a Kafka broker": Need(
        ("java",),
        KAFKA_LIBS / ".complete",
        "apt-get install default-jre-headless maven, then make kafka",
    ),
    "Chromium": Need(("chromium", "google-chrome"), None, "apt-get install chromium"),
    "the linters of deploy/": Need((), LINTERS / ".complete", "make linters"),
    "prometheus": _package("prometheus"),
    "promtool": _package("promtool", "prometheus"),
    "prometheus-alertmanager": _package("prometheus-alertmanager"),
    "amtool": _package("amtool", "prometheus-alertmanager"),
    "systemd-analyze": _package("systemd-analyze", "systemd"),
    "git": _package("git"),
    "hey": _package("hey"),
    "kcat": _package("kcat"),
    "openssl": _package("openssl"),
    "taskset": _package("taskset", "util-linux"),
    "wrk": _package("wrk"),
}


def need(*names: str) -> None:
    """Skip the running test if the machine lacks one of these; in CI that fails it."""
    for reason in _missing(names):
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def summarise(report: pytest.TestReport) -> None:
    """Give a skip by `need` the same place as others, so that the summary has a line per need.

    pytest says where the test is if a fixture has skipped it.
    """
    if report.skipped and isinstance(report.longrepr, tuple):
        _, _, reason = report.longrepr
        if any(reason.endswith(_reason(name)) for name in NEEDS):
            report.longrepr = (__file__, need.__code__.co_firstlineno, reason)


def require(*names: str) -> None:
    """End a program that lacks one of these, with the way to get each; the exit code is 1."""
    if missing := list(_missing(names)):
        sys.exit("\n".join(missing))


def _missing(names: Iterable[str]) -> Iterable[str]:
    return (_reason(name) for name in names if not NEEDS[name].met)


def _reason(name: str) -> str:
    return f"needs {name}: {NEEDS[name].get}"


def chromium() -> str:
    """Return the path of Chromium or Chrome, or skip the running test."""
    need("Chromium")
    found = filter(None, map(shutil.which, NEEDS["Chromium"].programs))
    return next(found)
