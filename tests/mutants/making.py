"""Make the mutants of a module: mutmut's code with all of them, and what each one changes."""

from __future__ import annotations

import ast
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import mutmut
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.utils.format_utils import (
    get_mutant_name,
    mangled_name_from_mutant_name,
    orig_function_and_class_names_from_key,
)

from tests.mutants.packages import ROOT

# Part of every digest in the cache: to be changed with the code below.
VERSION = f"3, mutmut {mutmut.__version__}"
TRAMPOLINE = (
    "from mutmut.mutation.trampoline import wrap_in_trampoline as _mutmut_mutated, MutantDict"
)
SWITCH = "from tests.mutants.switch import mutated as _mutmut_mutated, MutantDict"

Lines = Sequence[str]

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Mutant(msgspec.Struct, frozen=True):
    """A fault in one function: its lines `before` became `after`."""

    name: str
    module: str
    function: str
    line: int
    before: str
    after: str
    # Of the function's text: a verdict on the same name holds as long as this is the same.
    digest: str
    # The first and last line of its statement, counted from the first decorator.
    statement: tuple[int, int]

    @property
    def owner(self) -> str:
        """The full name of the function."""
        module, _, _ = self.name.rpartition(".")
        return f"{module}.{self.function}"

    @property
    def place(self) -> str:
        """The place as editors understand it."""
        return f"{self.module}:{self.line}"

    def diff(self) -> str:
        """Return the change as a diff."""
        return "\n".join(
            f"{sign} {line}"
            for sign, text in (("-", self.before), ("+", self.after))
            for line in text.splitlines()
        )


class Made(msgspec.Struct, frozen=True):
    """A module with all its mutants; `source` is the digest of what it was made from."""

    module: str
    source: str
    code: str
    mutants: list[Mutant]


def make(module: Path) -> Made:
    """Return the mutants of a module, from the cache if it has not changed."""
    text = (ROOT / module).read_text()
    source = _digest(f"{VERSION} {text}")
    cache = ROOT / ".cache" / "mutants" / "made" / f"{'.'.join(module.with_suffix('').parts)}.json"
    if cache.exists():
        made = msgspec.json.decode(cache.read_bytes(), type=Made)
        if made.source == source:
            return made
    made = make_from(module, text, source)
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_bytes(msgspec.json.encode(made))
    return made


def make_from(module: Path, text: str, source: str) -> Made:
    """Return the mutants of a module with a text."""
    mutated = mutate_file_contents(str(module), text)
    lines = mutated.code.splitlines()
    texts = {
        name: lines[span.start - 1 : span.end]
        for name, span in mutated.line_span_by_function_name.items()
    }
    functions = dict(_functions(ast.parse(text)))

    def mutant(name: str) -> Mutant:
        original = texts[f"{mangled_name_from_mutant_name(name)}__mutmut_orig"]
        function, owner = orig_function_and_class_names_from_key(name)
        offset, before, after = _change(original, texts[name], function)
        full = f"{owner}.{function}" if owner else function
        line = functions[full].lineno + offset
        return Mutant(
            name=get_mutant_name(module, name),
            module=str(module),
            function=full,
            line=line,
            statement=_statement(functions[full], line),
            before=before,
            after=after,
            digest=_digest("\n".join(original)),
        )

    assert TRAMPOLINE in mutated.code
    code = mutated.code.replace(TRAMPOLINE, SWITCH)
    return Made(str(module), source, code, [mutant(name) for name in mutated.mutant_names])


def _statement(function: Function, line: int) -> tuple[int, int]:
    """Return the lines of the smallest statement with a line, as they are counted in the mutants.

    There mutmut's decorator precedes the `def`, besides those that are there already.
    """
    found: ast.stmt = function
    for node in ast.walk(function):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
            # Statements inside a statement come after it.
            found = node
    zero = function.lineno - len(function.decorator_list) - 1
    return found.lineno - zero, (found.end_lineno or 0) - zero


def _change(original: Lines, mutated: Lines, name: str) -> tuple[int, str, str]:
    """Return where two functions differ, in lines after the `def`, and the lines of both."""
    start = next(i for i, line in enumerate(original) if "__mutmut_orig(" in line)
    before, after = [_named(lines, start, name) for lines in (original, mutated)]
    same = _alike(before, after)
    end = _alike(before[same:][::-1], after[same:][::-1])
    old, new = [
        "\n".join(line.strip() for line in lines[same : len(lines) - end])
        for lines in (before, after)
    ]
    return same - start, old, new


def _named(lines: Lines, start: int, name: str) -> Lines:
    """Give a function its name, whichever mutant it is."""
    head, _, rest = lines[start].partition("(")
    before, _, _ = head.rpartition(" ")
    return [*lines[:start], f"{before} {name}({rest}", *lines[start + 1 :]]


def _alike(one: Lines, other: Lines) -> int:
    """Return the number of equal lines at the beginning."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Yield functions and methods by name."""
    for node in tree.body:
        for child in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(child, Function):
                owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
                yield f"{owner}{child.name}", child


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
