"""Fixtures of tests in several folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web_app
from hypothesis import settings

from volsvc.commands.files import generate_file

# OpenMP's threads spin while they wait for a processor that other tests use: fits took many times
# as long. It reads the variable when scikit-learn is imported, which tests and children do later.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline, because a busy machine is no fault of the code; benchmarks measure speed. Each commit
# gets the same examples, so that its tests give the same result twice; `make test-long` finds new
# ones.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("new", deadline=None)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def no_daemon_outlives_its_test() -> Iterator[None]:
    """Clear the cache in which aiohttp keeps the applications of the last thousand handlers."""
    yield
    web_app._cached_build_middleware.cache_clear()


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of twenty minutes of three generated markets."""
    path = tmp_path_factory.mktemp("ticks") / "ticks.ndjson.gz"
    generate_file(
        path,
        minutes=20,
        seed=11,
        symbols=("BTC-USD", "ETH-USD", "SOL-USD"),
        start="2026-01-05T14:00:00Z",
    )
    return path


@pytest.fixture(scope="session")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of six minutes of two generated markets."""
    path = tmp_path_factory.mktemp("ticks") / "minutes.ndjson"
    symbols = ("BTC-USD", "ETH-USD")
    generate_file(path, minutes=6, seed=3, symbols=symbols, start="2026-01-05T14:00:00Z")
    return path
