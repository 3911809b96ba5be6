"""The commit of the checkout that the package runs from."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

import volsvc

UNKNOWN: Final = "unknown"
# SHA-1, or SHA-256 in repositories that were made with it.
_SHA: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# As many references may name another one as Git follows.
_MOST_REFERENCES: Final = 5


@cache
def running_commit() -> str:
    """Return the commit that was checked out when this was first called, or "unknown".

    Later calls return the same, because the code that runs does not change with the checkout.
    """
    return commit_of(Path(volsvc.__file__).parents[1])


def commit_of(checkout: Path) -> str:
    """Return the commit that is checked out in a folder, or "unknown" if it is no checkout.

    Reads the files of Git, so that it works without the program. Folders above are not looked at:
    an installed package may lie in the checkout of something else.
    """
    try:
        git = _git_folder(checkout / ".git")
        common = git / "commondir"
        # The branches of a worktree are in the repository that it belongs to.
        shared = git / common.read_text().strip() if common.is_file() else git
        value = (git / "HEAD").read_text().strip()
        for _ in range(_MOST_REFERENCES):
            if not value.startswith("ref: "):
                break
            value = _resolve(value.removeprefix("ref: "), git, shared)
    except (OSError, ValueError):
        return UNKNOWN
    return value if _SHA.fullmatch(value) else UNKNOWN


def _git_folder(place: Path) -> Path:
    """Return the folder of Git's files; in a worktree or a submodule, `place` is a file with it."""
    if place.is_dir():
        return place
    return place.parent / place.read_text().removeprefix("gitdir: ").strip()


def _resolve(reference: str, git: Path, shared: Path) -> str:
    """Return what a reference holds, which is a commit or another reference, or ""."""
    for folder in (git, shared):
        if (folder / reference).is_file():
            return (folder / reference).read_text().strip()
    packed = shared / "packed-refs"
    for line in packed.read_text().splitlines() if packed.is_file() else ():
        commit, _, name = line.partition(" ")
        if name == reference:
            return commit
    return ""
