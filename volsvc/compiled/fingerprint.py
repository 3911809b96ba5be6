"""Digests of what the machine code of a kernel is compiled from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from enum import EnumType
from types import CodeType, ModuleType
from typing import Any

import numpy as np
from numba.core import types
from numba.core.dispatcher import Dispatcher


def code_digest(function: Callable[..., Any]) -> str:
    """Return a digest of a kernel's code, and of the kernels and constants that it uses.

    Machine code has these within it, so it is stale once one of them changes, in any module.
    """
    return _digest(_parts(function, set()))


def closure_digest(function: Callable[..., Any]) -> str:
    """Return a digest of the variables of enclosing functions that a kernel uses."""
    values = (cell.cell_contents for cell in function.__closure__ or ())
    return _digest(part for value in values for part in _value_parts(value, [], set()))


def _digest(parts: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        # With their lengths, so that no two sequences of parts have the same bytes.
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()


def _parts(function: Any, seen: set[object]) -> Iterator[bytes]:
    code = function.__code__
    # Kernels may call each other in circles.
    if code in seen:
        return
    seen.add(code)
    yield from _code_parts(code)
    yield repr(function.__defaults__).encode()
    names = sorted(_names(code))
    for name in names:
        if name in function.__globals__:
            yield name.encode()
            yield from _value_parts(function.__globals__[name], names, seen)


def _code_parts(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr((code.co_names, code.co_varnames)).encode()
    for constant in code.co_consts:
        # The text of a code object has its address.
        if isinstance(constant, CodeType):
            yield from _code_parts(constant)
        else:
            yield repr(constant).encode()


def _names(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _value_parts(value: Any, attributes: list[str], seen: set[object]) -> Iterator[bytes]:
    """Yield what a value means to machine code that reads some of its attributes."""
    if isinstance(value, Dispatcher):
        yield from _parts(value.py_func, seen)
    elif isinstance(value, ModuleType):
        # Modules refer to each other in circles, too.
        if (value, *attributes) not in seen:
            seen.add((value, *attributes))
            for name in attributes:
                yield from _value_parts(getattr(value, name, None), attributes, seen)
    elif isinstance(value, tuple):
        for item in value:
            yield from _value_parts(item, attributes, seen)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}".encode() + value.tobytes()
    else:
        yield _text(value).encode()


def _text(value: Any) -> str:
    if isinstance(value, EnumType):
        return repr(list(value))
    if isinstance(value, bool | int | float | complex | str | np.generic | np.dtype | types.Type):
        return repr(value)
    # A function of numpy or numba, whose versions are in the key as well; its text may have an
    # address.
    return type(value).__name__
