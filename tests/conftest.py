"""What tests of several folders need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web_app
from hypothesis import settings

from volsvc.commands.files import generate_file

# A busy machine is no fault of the code; speed is measured by the benchmarks. Each commit is given
# the same examples, so that its tests answer the same twice; `make test-long` looks for new ones.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("new", deadline=None)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def no_daemon_outlives_its_test() -> Iterator[None]:
    """The server keeps the applications of the last thousand handlers that were asked for."""
    yield
    web_app._cached_build_middleware.cache_clear()


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


@pytest.fixture(scope="session")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six minutes of two generated markets."""
    path = tmp_path_factory.mktemp("ticks") / "minutes.ndjson"
    symbols = ("BTC-USD", "ETH-USD")
    generate_file(path, minutes=6, seed=3, symbols=symbols, start="2026-01-05T14:00:00Z")
    return path
