"""A shell script in the place of the interpreter, which notes what it was asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.waiting import until


class Interpreter:
    """The program that the daemon starts instead of Python, until the end of a test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        folder.mkdir()
        self._path = folder / "python"
        monkeypatch.setattr(sys, "executable", str(self._path))

    def does(self, script: str) -> None:
        """Set what it does after its notes."""
        notes = (
            f'cd "{self._folder}"; echo $$ > pid; env > environment; '
            'for one in "$@"; do printf "%s\\n" "$one"; done > arguments; echo x >> runs'
        )
        self._path.write_text(f"#!/bin/sh\n{notes}\n{script}\n")
        self._path.chmod(0o755)

    @property
    def arguments(self) -> list[str]:
        """The arguments of its last run."""
        return (self._folder / "arguments").read_text().splitlines()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its last run."""
        lines = (self._folder / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    @property
    def runs(self) -> int:
        """The number of its runs so far."""
        path = self._folder / "runs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    @property
    def ready(self) -> bool:
        """True once a script has made a file of this name."""
        return (self._folder / "ready").exists()

    def wait_for_end(self) -> None:
        """Wait until the process of the last run has ended and was waited for."""
        text = (self._folder / "pid").read_text() if (self._folder / "pid").exists() else ""
        if not text:
            # On a busy machine it was ended before it had begun.
            return
        pid = int(text)

        def ended() -> bool:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
            return False

        until(ended, 5, "the process has ended")
