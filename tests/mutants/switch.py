"""Turn mutants on: stands in for mutmut's trampolines in the code that mutmut makes.

A trampoline costs a look-up of the environment at each call, which is too much in code that is
called for each tick. Here a mutant takes the place of its function, once, in the fork that tests
it, and every other function runs as it was written.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType
from typing import Any, TypeVar

MutantDict = dict[str, Any]

Tracer = Callable[[FrameType, str, object], Any]

Lines = dict[str, set[int]]

Function = TypeVar("Function", bound=Callable[..., Any])

_mutated: list[tuple[FunctionType, MutantDict]] = []
# Functions by their code, and by the code of the functions inside them.
_owners: dict[CodeType, FunctionType] = {}


def mutated(mutants: MutantDict, is_classmethod: bool = False) -> Callable[[Function], Function]:
    """Note the function that is decorated, and the mutants that can take its place."""

    def note(function: Function) -> Function:
        assert isinstance(function, FunctionType)
        _mutated.append((function, mutants))
        _owners.update(dict.fromkeys(_codes(function.__code__), function))
        return function

    return note


def turn_on(name: str) -> None:
    """Put a mutant in the place of its function.

    Raises LookupError if there is no such mutant, ValueError if it does not fit in there.
    """
    module, _, key = name.rpartition(".")
    importlib.import_module(module)
    found = [
        (function, mutants[key])
        for function, mutants in _mutated
        if function.__module__ == module and key in mutants
    ]
    # A module that was loaded again has its functions twice.
    function, mutant = found[-1]
    # A class method is bound to its class.
    mutant = getattr(mutant, "__func__", mutant)
    assert isinstance(mutant, FunctionType)
    function.__code__ = mutant.__code__
    function.__defaults__ = mutant.__defaults__
    function.__kwdefaults__ = mutant.__kwdefaults__


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


@contextmanager
def recorded() -> Iterator[Lines]:
    """Yield the lines that are run from here on, by function that has mutants.

    Threads count that are started after it. Lines are counted from that of the first decorator.
    """
    lines: Lines = defaultdict(set)

    def on_call(frame: FrameType, event: str, argument: object) -> Tracer | None:
        return on_line if frame.f_code in _owners else None

    def on_line(frame: FrameType, event: str, argument: object) -> Tracer:
        owner = _owners[frame.f_code]
        name = f"{owner.__module__}.{owner.__qualname__}"
        lines[name].add(frame.f_lineno - owner.__code__.co_firstlineno)
        return on_line

    threading.settrace(on_call)
    sys.settrace(on_call)
    yield lines
    sys.settrace(None)
    threading.settrace(None)
