"""Tests of the benchmarks that need a broker, in a small form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.benchmarks import instances, latency, stream
from tests.benchmarks.figures import Results
from tests.benchmarks.rounds import SMOKE, Bench
from tests.benchmarks.test_smoke import finite
from tests.kafka.broker import Broker

pytestmark = pytest.mark.long


@pytest.mark.parametrize("part", [stream.measure, latency.on_a_broker, instances.measure])
async def test_a_benchmark_runs(
    part: Callable[[Bench], Awaitable[Results]], broker: Broker, tmp_path: Path
) -> None:
    """A benchmark on a broker runs in its smallest form, without the peers."""
    finite(await part(Bench(SMOKE, tmp_path, servers=broker.bootstrap_servers)))
