"""The decision records have one shape, and their index lists each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
HEADINGS = ["Context", "Decision", "Consequences", "When to look again"]
STATUS = re.compile(
    r"^Date: (\d{4}-\d{2}-\d{2})[^.]*\. Status: (accepted|replaced by \d{4})\.$", re.MULTILINE
)


def number_of(path: Path) -> str:
    return path.name.partition("-")[0]


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_record_has_the_shape(record: Path) -> None:
    """A record has its number in the title, a date, a status and the four sections."""
    text = record.read_text()
    assert text.startswith(f"# {number_of(record)}. ")
    assert STATUS.search(text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS


def test_index_lists_every_record_with_its_date() -> None:
    """The numbers run without a gap, and the index has a row for each record, with its date."""
    rows = re.findall(
        r"^\| \[(\d{4})\]\(([^)]+)\) \| (\S+) \|", (FOLDER / "index.md").read_text(), re.MULTILINE
    )
    dates = [STATUS.findall(record.read_text())[0][0] for record in RECORDS]
    expected = [(number_of(r), r.name, date) for r, date in zip(RECORDS, dates, strict=True)]
    assert rows == expected
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))
