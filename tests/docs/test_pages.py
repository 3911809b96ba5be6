"""Links of the pages, their spelling, and the site that they make."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, pages

BIN = Path(sys.executable).parent
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^(`{3,}).*?^\1`*$", re.MULTILINE | re.DOTALL)


def prose(path: Path) -> str:
    """Return a page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", path.read_text()))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page, as code hosts derive them from headings."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text()), re.MULTILINE):
        text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(slug if not seen[slug] else f"{slug}-{seen[slug]}")
        seen[slug] += 1
    return found


def broken(page: Path) -> list[str]:
    """Return the broken links of a page."""
    unlinked = []
    for link in LINK.findall(prose(page)):
        if re.match(r"https?://|mailto:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            unlinked.append(link)
    return unlinked


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names an existing file, and an existing anchor in it."""
    assert broken(page) == []


def test_every_page_can_be_found() -> None:
    """README or docs/index.md links to each page of docs/."""
    linked = set()
    for start in (ROOT / "README.md", ROOT / "docs" / "index.md"):
        links = (link.partition("#")[0] for link in LINK.findall(prose(start)))
        linked |= {(start.parent / link).resolve() for link in links if link}
    unlinked = {page.name for page in (ROOT / "docs").glob("*.md")} - {page.name for page in linked}
    assert unlinked == {"index.md"} - {page.name for page in linked}


@pytest.mark.long
def test_spelling() -> None:
    """Codespell finds no mistake in pages, code, configuration and messages."""
    done = subprocess.run([BIN / "codespell"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_pages_make_a_site(tmp_path: Path) -> None:
    """Mkdocs builds the site, strict about links, anchors and pages outside the menu."""
    done = subprocess.run(
        [BIN / "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "runbook" / "index.html").is_file()


def test_the_site_asks_nobody() -> None:
    """The pages load no font, script or picture from another host."""
    text = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in text
    assert "http" not in re.sub(r"#.*", "", text)
