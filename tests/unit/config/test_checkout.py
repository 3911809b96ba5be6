"""The commit of a checkout, read from Git's files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon import command
from tests.git import commit, git, repository
from tests.needs import ROOT
from volsvc.config.checkout import commit_of


def on_a_branch(folder: Path) -> Path:
    return repository(folder / "a")


def with_packed_references(folder: Path) -> Path:
    made = repository(folder / "a")
    git(made, "branch", "other")
    git(made, "pack-refs", "--all")
    return made


def newer_than_the_packed_references(folder: Path) -> Path:
    made = with_packed_references(folder)
    commit(made)
    return made


def detached(folder: Path) -> Path:
    made = repository(folder / "a")
    git(made, "checkout", "--quiet", "--detach")
    commit(made)
    return made


def branch_that_stands_for_another(folder: Path) -> Path:
    made = repository(folder / "a")
    git(made, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git(made, "symbolic-ref", "HEAD", "refs/heads/alias")
    return made


def worktree(folder: Path) -> Path:
    made = repository(folder / "a")
    git(made, "worktree", "add", "--quiet", "-b", "other", str(folder / "b"))
    commit(folder / "b")
    return folder / "b"


def worktree_with_packed_references(folder: Path) -> Path:
    made = worktree(folder)
    git(made, "pack-refs", "--all")
    return made


def submodule(folder: Path) -> Path:
    inner, outer = repository(folder / "inner"), repository(folder / "outer")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    return outer / "sub"


@pytest.mark.parametrize(
    "make",
    [
        on_a_branch,
        with_packed_references,
        newer_than_the_packed_references,
        detached,
        branch_that_stands_for_another,
        worktree,
        worktree_with_packed_references,
        submodule,
    ],
)
def test_the_commit_is_that_of_git(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """Whatever was checked out, and wherever Git keeps it, the commit is the one that Git names."""
    checkout = make(tmp_path)
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")


def no_checkout(folder: Path) -> Path:
    return folder


def below_a_checkout(folder: Path) -> Path:
    inner = repository(folder / "a") / "inner"
    inner.mkdir()
    return inner


def without_a_commit(folder: Path) -> Path:
    git(folder, "init", "--quiet")
    return folder


def head_is(text: bytes) -> Callable[[Path], Path]:
    """Return a maker of a checkout with this text in HEAD."""

    def make(folder: Path) -> Path:
        made = repository(folder / "a")
        (made / ".git" / "HEAD").write_bytes(text)
        return made

    return make


@pytest.mark.parametrize(
    "make",
    [
        no_checkout,
        below_a_checkout,
        without_a_commit,
        head_is(b""),
        head_is(b"0123abcd"),
        head_is(b"ref: refs/heads/.invalid"),
        head_is(b"ref: HEAD"),
        head_is(b"ref: refs/heads/\0"),
        head_is(b"\xff"),
    ],
)
def test_without_a_commit_it_is_unknown(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """No checkout, one of something else, and files that cannot be understood give no commit."""
    assert commit_of(make(tmp_path)) == "unknown"


async def test_it_is_the_default_of_the_setting(tmp_path: Path) -> None:
    """A command from a checkout shows its commit, unless a build has set GIT_SHA."""
    here = git(ROOT, "rev-parse", "HEAD") if (ROOT / ".git").exists() else "unknown"
    for env, sha in (({}, here), ({"GIT_SHA": ""}, here), ({"GIT_SHA": "0badf00d"}, "0badf00d")):
        code, out, err = await command("config", env=env, cwd=tmp_path)
        assert code == 0, err
        assert json.loads(out)["service"]["git_sha"] == sha
