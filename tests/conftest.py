"""What tests of several folders need."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from volsvc.commands import generate_file

# A busy machine is no fault of the code; speed is measured by the benchmarks.
settings.register_profile("volsvc", deadline=None)
settings.load_profile("volsvc")


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty minutes of three generated markets."""
    path = tmp_path_factory.mktemp("ticks") / "ticks.ndjson.gz"
    generate_file(
        path,
        minutes=20,
        seed=11,
        symbols=("BTC-USD", "ETH-USD", "SOL-USD"),
        start="2026-01-05T14:00:00Z",
    )
    return path
