"""The import of numba without scipy."""

import subprocess
import sys

LOAD = """
import sys
from volsvc.compiled.loading import load_numba
load_numba()
assert "numba.np.arraymath" in sys.modules
assert "scipy.linalg" not in sys.modules
import scipy.linalg.cython_blas
"""


def test_scipy_is_left_out() -> None:
    """The parts of numba are imported without scipy, which can be imported later."""
    subprocess.run([sys.executable, "-c", LOAD], check=True)
