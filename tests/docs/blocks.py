"""The code blocks of README and docs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*(.*)$")
NOTE = re.compile(r"^<!-- not run: (.+) -->$")
LANGUAGES = {"http", "json", "python", "sh", "text", "toml", "yaml"}
# Requirements that no test can meet.
NOT_HERE = {
    "a cluster",
    "a container engine",
    "root on a machine with systemd",
    "the internet",
}


class Block(NamedTuple):
    """A fenced block: its place, language and text, and the reason if it is not run."""

    path: Path
    line: int
    language: str
    text: str
    not_run: str

    @property
    def place(self) -> str:
        """Path and line, in the form that editors open."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return every page of README and docs."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(path: Path) -> Iterator[Block]:
    """Yield every fenced block of a page."""
    lines = path.read_text().splitlines()
    at = 0
    while at < len(lines):
        opened = FENCE.match(lines[at])
        if opened is None:
            at += 1
            continue
        ends = (n for n in range(at + 1, len(lines)) if lines[n].strip() == opened[2])
        end = next(ends, len(lines))
        note = NOTE.match(lines[at - 1].strip()) if at else None
        text = "\n".join(line.removeprefix(opened[1]) for line in lines[at + 1 : end])
        yield Block(path, at + 1, opened[3].strip(), text, note[1] if note else "")
        at = end + 1


def every_block() -> list[Block]:
    """Return the blocks of every page."""
    return [block for path in pages() for block in blocks(path)]


def of(*languages: str) -> list[Any]:
    """Return the blocks of some languages that are not marked as not run, as test cases."""
    found = (
        block for language in languages for block in every_block() if block.language == language
    )
    return [pytest.param(block, id=block.place) for block in found if not block.not_run]


def indented(path: Path) -> Iterator[int]:
    """Yield the lines that Markdown takes for code because of their indent, without a language."""
    inside, before = False, ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if FENCE.match(line):
            inside = not inside
        elif not inside and re.match(r"^( {4}|\t)\S", line) and before.strip() == "":
            yield number
        before = line
