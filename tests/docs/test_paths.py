"""The paths that the pages name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, pages

PATH = re.compile(r"`((?:volsvc|tests|deploy|docs)/[\w./-]+)`")
# NAME and NNNN stand for a new file's name; the rest is made by whoever deploys.
ELSEWHERE = re.compile(r"NAME|NNNN|^deploy/(data$|secrets/|\.env$)")
# An old section of the changelog keeps the names of its time.
PAGES = [page for page in pages() if page.name != "CHANGELOG.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_exist(page: Path) -> None:
    """Every file and folder of the repository that a page names is there."""
    named = {path for path in PATH.findall(page.read_text()) if not ELSEWHERE.search(path)}
    assert {path for path in named if not (ROOT / path).exists()} == set()
