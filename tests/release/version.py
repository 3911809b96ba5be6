"""`python -m tests.release.version` writes the version into deploy/ and the pages.

Its source is `volsvc.__version__`; manifests and recipes cannot read that, and repeat it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import volsvc
from tests.docs.blocks import pages
from tests.release.environment import ROOT

# A name of ours before a version: an image, a wheel, a title; or the key of an image's tag.
MENTION = re.compile(
    r"(\bvolsvc(?:-mlflow)?[:-]|^# volsvc |\bnewTag: )(\d+\.\d+\.\d+)\b", re.MULTILINE
)


def places() -> list[Path]:
    """Return the files that may name the present version; the changelog names earlier ones."""
    deployed = (path for path in (ROOT / "deploy").rglob("*") if path.is_file())
    # Recordings and keys that somebody has put there are none of ours.
    texts = (path for path in deployed if not {"data", "secrets"} & set(path.parts))
    return sorted({*texts, *pages()} - {ROOT / "CHANGELOG.md"})


def written(text: str) -> str:
    """Return a text with the present version wherever it names one."""
    return MENTION.sub(lambda found: found[1] + volsvc.__version__, text)


def outdated() -> Iterator[Path]:
    """Yield the files that name another version."""
    for path in places():
        text = path.read_text()
        if written(text) != text:
            yield path


if __name__ == "__main__":
    for each in outdated():
        each.write_text(written(each.read_text()))
        print(each.relative_to(ROOT))
