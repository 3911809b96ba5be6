"""Records in kernels: whose memory they are in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import volsvc

ROOT = Path(volsvc.__file__).parent
MAKERS = {"zeros", "empty", "full", "ones"}
# Plain numbers: the usual floats, and types of numpy.
PLAIN = {"", "np.int64", "np.int16", "np.uint16", "np.uint8", "splits['place'].dtype"}


def kernels() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions that are compiled, with the names of their modules."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any(
                ast.unparse(decorator) == "kernel" for decorator in node.decorator_list
            ):
                yield f"{path.relative_to(ROOT)}:{node.name}", node


def made_in(function: ast.FunctionDef) -> Iterator[str]:
    """Types of the arrays that a function makes, "" for the usual one."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            if ast.unparse(node.func.value) == "np" and name in MAKERS:
                types = [k.value for k in node.keywords if k.arg == "dtype"]
                types += node.args[2 if name == "full" else 1 :]
                yield ast.unparse(types[0]) if types else ""


def test_kernels_make_no_arrays_of_records() -> None:
    """A record of an array that a kernel has made may outlive it: numba frees what nobody reads."""
    found = list(kernels())
    assert len(found) > 100
    made = {(name, kind) for name, function in found for kind in made_in(function)}
    assert len(made) > 10
    assert {(name, kind) for name, kind in made if kind not in PLAIN} == set()
