"""Kernels compiled with checks of their indices, which they have not in a service."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import ROOT

# An index that the checks find, and that would be read without them.
PROBE = """
import numpy as np
from volsvc.features.kernels.laws import cumulated
try:
    cumulated(np.ones(4), np.ones(4), 0.5, 4)
except IndexError:
    print("checked")
"""


@pytest.mark.long
def test_no_index_leads_outside_of_an_array(tmp_path: Path) -> None:
    """Any batches, cut anywhere, and what is forecast and learnt after them pass the checks."""
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    probe = (sys.executable, "-c", PROBE)
    found = subprocess.run(probe, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert found.stdout == "checked\n"
    tests = ("tests/unit/features/test_batches.py", "tests/unit/features/test_minute_points.py")
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
