"""Compilation of numerical kernels to machine code with numba.

A kernel is a function of numbers, arrays and records, decorated with `kernel`. With
NUMBA_DISABLE_JIT=1 kernels are plain Python functions, slow but open to a debugger.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

# One cache of compiled code serves all x86-64 processors, in an image too, and gives the same bits
# on each of them. If numba is already imported, it would take half of the setting.
if "numba" not in sys.modules:
    os.environ.setdefault("NUMBA_CPU_NAME", "generic")

import numba
import numpy as np
from numpy.typing import DTypeLike

from volsvc.compiled.cache import KernelCache

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_OPTIONS: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy"}

# All kernels of the modules that are imported.
KERNELS: list[Any] = []


def kernel(function: Kernel) -> Kernel:
    """Compile a function on its first call, and cache the machine code on disk.

    It releases the interpreter lock. Arithmetic is that of IEEE 754, as in Python, but a division
    by zero gives infinity or NaN. Indices are not checked: callers have to. A kernel must not make
    an array of records: a record does not keep the memory of its array, which may be freed while
    the record is still in use.
    """
    compiled: Any = numba.njit(**_OPTIONS)(function)
    if compiled is not function:
        # In place of `cache=True`, whose cache fails where nothing can be written.
        compiled._cache = KernelCache(function, _OPTIONS)  # noqa: SLF001
        KERNELS.append(compiled)
    return cast("Kernel", compiled)


def record_type(fields: DTypeLike) -> np.dtype[Any]:
    """Return the type of records with the given fields, laid out as in C.

    The elements of an array of it have the fields as attributes, in kernels and in Python. Raises
    ValueError if Python would find an attribute of its own under the name of one.
    """
    dtype = np.dtype(fields, align=True)
    for name in dtype.names or ():
        if hasattr(np.record, name):
            raise ValueError(f"{name!r} cannot be a field: each record of numpy has it already")
    return np.dtype((np.record, dtype))
