"""The dependencies of the package: declared where they are imported, pinned, and explained."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions

from tests.release.environment import ROOT
from volsvc.domain.extras import EXTRAS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]


def normal(name: str) -> str:
    """Return the name of a distribution in the form in which package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> set[str]:
    """Return the distributions that requirements name, those of our own extras included."""
    found = set()
    for requirement in requirements:
        name, extras = re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", requirement).groups()  # type: ignore[union-attr]
        if name == "volsvc":
            found |= set().union(*(names(OPTIONAL[extra]) for extra in extras.split(",")))
        else:
            found.add(normal(name))
    return found


BASE = names(PROJECT["dependencies"])


def imported() -> Iterator[tuple[str, str]]:
    """Yield each library that a module of ours imports, with the module."""
    for path in sorted((ROOT / "volsvc").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                libraries = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                libraries = [node.module or ""]
            else:
                continue
            for library in libraries:
                root = library.partition(".")[0]
                if root not in sys.stdlib_module_names and root != "volsvc":
                    yield root, str(path.relative_to(ROOT))


def test_what_is_imported_is_declared() -> None:
    """Each library is a dependency of the package, or of the extra whose lack is reported."""
    known = packages_distributions()
    undeclared = {}
    for library, module in imported():
        declared = BASE | (names(OPTIONAL[EXTRAS[library]]) if library in EXTRAS else set())
        # A module of the standard library in newer Pythons is none of an older environment.
        distributions = {normal(name) for name in known.get(library, ())}
        if distributions and not distributions & declared:
            undeclared[library] = module
    assert undeclared == {}


def test_what_is_declared_is_pinned() -> None:
    """Each dependency, that of an extra too, has its version in constraints.txt."""
    text = (ROOT / "constraints.txt").read_text()
    pinned = {normal(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
    every = BASE.union(*(names(requirements) for requirements in OPTIONAL.values()))
    assert every - pinned == set()


def test_what_is_installed_with_the_service_is_explained() -> None:
    """Each dependency of the package, and of the extras that it asks for, has its reason."""
    page = (ROOT / "docs" / "selection_rationale.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \|", page.partition("## Dependencies")[2], re.MULTILINE)
    explained = {normal(name) for row in rows for name in re.findall(r"[\w.-]+", row)}
    offered = BASE.union(*(names(OPTIONAL[extra]) for extra in EXTRAS.values()))
    exporter = "opentelemetry-exporter-otlp-proto-http"
    assert offered - explained == {exporter}, f"{exporter} stands there as the exporter of its SDK"
