"""Fixtures of tests in several folders."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from aiohttp import web_app
from hypothesis import settings

from tests.clock import loop_clock, pytest_asyncio_loop_factories
from tests.made import generated
from tests.needs import PLAIN_PYTHON, summarise
from volsvc.config.settings import SHORT_NAMES

__all__ = ["loop_clock", "pytest_asyncio_loop_factories"]

# OpenMP's threads spin while they wait for a processor that other tests use: fits took many times
# as long. It reads the variable when scikit-learn is imported, which tests and children do later.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The processor for which volsvc has its kernels compiled, whichever test imports numba first: the
# cache that `volsvc warmup` has filled is of no use for another.
os.environ.setdefault("NUMBA_CPU_NAME", "generic")

# No deadline, because a busy machine is no fault of the code; benchmarks measure speed. Each commit
# gets the same examples, so that its tests give the same result twice; the profile `new` finds new
# ones.
#
# Kernels that are plain Python take a hundred times as long.
EXAMPLES = 3 if PLAIN_PYTHON else 100
settings.register_profile("same", deadline=None, derandomize=True, max_examples=EXAMPLES)
settings.register_profile("new", deadline=None, max_examples=EXAMPLES)
settings.load_profile("same")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a module on one worker, because they share its fixtures."""
    # First, because xdist reads the groups in the same hook.
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Name each thing that the machine lacks once."""
    report = yield
    summarise(report)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return a worker more than there are processors, since many tests wait for a daemon."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True)
def no_daemon_outlives_its_test() -> Iterator[None]:
    """Clear the cache in which aiohttp keeps the applications of the last thousand handlers."""
    yield
    web_app._cached_build_middleware.cache_clear()


@pytest.fixture(autouse=True)
def no_settings_outlive_their_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove settings from the environment: MLflow's client leaves the store of an earlier test."""
    for name in [n for n in os.environ if n in SHORT_NAMES or n.startswith("VOLSVC_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def recording() -> Path:
    """Return a recording of twenty minutes of three generated markets."""
    return generated("ticks.ndjson.gz", ("BTC-USD", "ETH-USD", "SOL-USD"), minutes=20, seed=11)


@pytest.fixture(scope="session")
def minutes() -> Path:
    """Return a recording of six minutes of two generated markets."""
    return generated("ticks.ndjson", ("BTC-USD", "ETH-USD"), minutes=6, seed=3)
