"""Size of functions and modules, docstrings, and code that stands twice."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "volsvc").rglob("*.py")) + sorted((ROOT / "tests").rglob("*.py"))
OURS = [path for path in MODULES if path.is_relative_to(ROOT / "volsvc")]
MOST_IN_FUNCTION, MOST_IN_MODULE, MOST_TWICE = 50, 400, 5
SIGNS = {tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER, tokenize.ENCODING}
LAYOUT = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}

RIDDLE = re.compile(r"(What|Who|Whom|Whose|How|Where|Whether|Which|When|Why)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def code_lines(path: Path) -> dict[int, str]:
    """The lines that hold code, by number, each as its tokens: no comment, docstring or layout."""
    lines: dict[int, list[str]] = defaultdict(list)
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type not in SIGNS | LAYOUT:
            lines[token.start[0]].append(token.string)
    for number in docstring_lines(parsed(path)):
        lines.pop(number, None)
    return {number: " ".join(tokens) for number, tokens in sorted(lines.items())}


def docstring_lines(tree: ast.Module) -> Iterator[int]:
    """Lines of strings that are no part of an expression."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def test_nothing_is_too_long() -> None:
    """No function has more than 50 lines of code, no module more than 400 lines."""
    long = {name(path) for path in MODULES if len(path.read_text().splitlines()) > MOST_IN_MODULE}
    for path in MODULES:
        lines = code_lines(path)
        for function in functions(parsed(path)):
            body = range(function.lineno, (function.end_lineno or function.lineno) + 1)
            if sum(number in lines for number in body) > MOST_IN_FUNCTION:
                long.add(f"{name(path)}:{function.name}")
    assert long == set()


def public(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Names that others may use, but for members that a protocol explains as a whole."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            if not is_ellipsis(node.body[0]):
                yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


def is_ellipsis(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node) == "..."


def test_public_names_are_explained() -> None:
    """Every module, class, function and method that is public has a docstring."""
    bare = set()
    for path in OURS:
        tree = parsed(path)
        if tree.body and not ast.get_docstring(tree):
            bare.add(name(path))
        bare |= {f"{name(path)}:{n}" for n, node in public(tree) if not ast.get_docstring(node)}
    assert bare == set()


def test_docstrings_say_what_a_thing_is_or_does() -> None:
    """No docstring begins with a question word: the reader would have to guess the thing."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    riddles = {
        f"{name(path)}:{getattr(node, 'name', '')}"
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, documented) and RIDDLE.match(ast.get_docstring(node) or "")
    }
    assert riddles == set()


def declarations(tree: ast.Module) -> Iterator[int]:
    """Lines that only say what a name is: imports, fields, and the parameters of functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.AnnAssign) and node.value is None
        ):
            yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)
        elif isinstance(node, Function):
            yield from range(node.lineno, node.body[0].lineno)


def test_nothing_is_said_twice() -> None:
    """No six lines of code after one another stand in two places."""
    places: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in OURS:
        declared = set(declarations(parsed(path)))
        lines = [item for item in code_lines(path).items() if item[0] not in declared]
        for at in range(len(lines) - MOST_TWICE):
            block = tuple(text for _, text in lines[at : at + MOST_TWICE + 1])
            places[block].append(f"{name(path)}:{lines[at][0]}")
    twice = {found[0]: found[1:] for found in places.values() if len(found) > 1}
    assert twice == {}
