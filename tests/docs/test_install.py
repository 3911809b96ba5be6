"""Instructions to install the package, in pages, settings and messages."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.docs.blocks import ROOT, pages
from volsvc.domain.extras import EXTRAS

# A command that installs something by our name alone, from whatever index pip is set up to ask.
FROM_AN_INDEX = re.compile(
    r"pip install [^\n`]*?(?<![\w./+-])volsvc(?:\[[\w,]*\])?(?! @)(?=['\"\s=<>~!]|$)", re.MULTILINE
)
MODULES = sorted((ROOT / "volsvc").rglob("*.py"))
TEXTS = [*pages(), ROOT / "config.toml", *MODULES, *(ROOT / "deploy").rglob("*.y*ml")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pip install volsvc", True),
        ("pip install 'volsvc[mlflow]'", True),
        ("pip install -U volsvc[mlflow]", True),
        ("uv pip install 'volsvc==1.0.0'", True),
        ("pip install 'volsvc[mlflow] @ git+https://a.example/volsvc.git'", False),
        ("pip install -c constraints.txt './volsvc-1.0.0-py3-none-any.whl[mlflow]'", False),
        ("pip install volsvc-1.0.0-py3-none-any.whl", False),
        ("/opt/volsvc/bin/pip install -c constraints.txt '.[mlflow]'", False),
    ],
)
def test_an_install_from_an_index_is_found(text: str, found: bool) -> None:
    """A name alone is found, a place is not."""
    assert bool(FROM_AN_INDEX.search(text)) == found


def test_nothing_is_installed_from_an_index() -> None:
    """No release publishes the package by itself, so a name alone may bring somebody else's."""
    assert {
        str(path.relative_to(ROOT)): found[0]
        for path in TEXTS
        if (found := FROM_AN_INDEX.search(path.read_text()))
    } == {}


def test_every_extra_is_in_the_setup_page() -> None:
    """The page lists the extras that the code asks for, which are extras of the project."""
    text = (ROOT / "docs" / "setup.md").read_text()
    _, _, table = text.partition("| extra | adds |\n")
    listed = re.findall(r"^\| `(\w+)` \|", table.partition("\n\n")[0], re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(listed) == set(EXTRAS.values())
    assert set(listed) <= set(project["optional-dependencies"])
