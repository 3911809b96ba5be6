"""Private names of aiohttp that the server uses: each is there, and no other is used."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from aiohttp.web_protocol import RequestHandler

import volsvc
from volsvc.web.server import connection

# By name: what breaks if it is gone.
NEEDED = {
    "_messages": "the fast path cannot tell a new head from the rest of a body, nor whether "
    "another request waits, and would answer out of order",
    "_next_keepalive_close_time": "a client of the fast path alone is cut off "
    "http.keepalive_timeout_s after its first request, however busy it is",
}


def attributes_of_self(path: Path) -> set[str]:
    """Private attributes of `self` that a module uses."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and node.attr.startswith("_")
    }


@pytest.mark.parametrize("name", NEEDED)
def test_the_name_is_there(name: str) -> None:
    """Aiohttp still has the name; if not, its bound in pyproject.toml may not be raised."""
    names = {slot for base in RequestHandler.__mro__ for slot in getattr(base, "__slots__", ())}
    assert name in names, NEEDED[name]


def test_no_other_name_is_used() -> None:
    """The connection uses these private names of aiohttp and no others."""
    assert connection.__file__ is not None
    inherited = {
        name
        for base in RequestHandler.__mro__
        for name in (*vars(base), *getattr(base, "__slots__", ()))
        if name.startswith("_") and not name.startswith("__")
    }
    assert attributes_of_self(Path(connection.__file__)) & inherited == set(NEEDED)


def test_no_other_module_inherits_from_aiohttp_private_classes() -> None:
    """One module alone builds on the request handler, which aiohttp does not export."""
    root = Path(volsvc.__file__).parent
    users = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "aiohttp.web_protocol" in path.read_text()
    }
    assert users == {"web/server/connection.py"}
