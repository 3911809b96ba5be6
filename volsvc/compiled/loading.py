"""The import of the parts of numba that run machine code."""

from __future__ import annotations

import sys
from typing import Final

_BLAS: Final = "scipy.linalg.cython_blas"


def load_numba() -> None:
    """Import what numba imports by itself before the first kernel runs, without scipy.

    numba looks for scipy's linear algebra, which takes more time and memory than the rest where it
    is installed. Kernels use none, but for the rest of the process numba has no `numpy.dot`: for
    processes of our own.
    """
    if _BLAS in sys.modules:
        return
    # None makes an import fail as if there were no such module.
    sys.modules[_BLAS] = None  # type: ignore[assignment]
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        del sys.modules[_BLAS]
