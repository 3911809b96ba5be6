"""Runs Git in repositories of tests, without the settings of whoever runs them."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

from tests.needs import need

ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@a.example",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@a.example",
}


def git(folder: Path, *arguments: str) -> str:
    """Run Git in a folder and return what it prints."""
    need("git")
    # Those of a hook that runs the tests would name another repository.
    outside = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ("git", *arguments),
        cwd=folder,
        env={**outside, **ENVIRONMENT},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def repository(folder: Path) -> Path:
    """Return a new repository with one commit on the branch `main`."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder)
    return folder


def commit(folder: Path) -> str:
    """Make an empty commit, and return its name."""
    # Two with one text in one second would be the same.
    git(folder, "commit", "--quiet", "--allow-empty", f"--message={uuid.uuid4()}")
    return git(folder, "rev-parse", "HEAD")
