"""Failures of a real daemon become alerts at a real receiver, and are resolved."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from tests.daemon import RunningDaemon, running
from tests.kafka.broker import free_port
from tests.monitoring.rig import monitoring
from volsvc.drift import summarise
from volsvc.models.drift_inputs import DRIFT_INPUTS

TICK_S = 20
# Only symbols that are a day old are checked for drift.
HOURS = 28


def slow_day(path: Path) -> None:
    """Write more than a day of one symbol, a tick every 20 s."""
    rng = np.random.default_rng(8)
    start = datetime(2026, 1, 5, tzinfo=UTC)
    prices = 100 * np.exp(np.cumsum(rng.normal(0, 2e-4, HOURS * 3600 // TICK_S)))
    with path.open("w") as file:
        for index, price in enumerate(prices):
            time = (start + timedelta(seconds=TICK_S * index)).isoformat()
            file.write(json.dumps({"time": time, "symbol": "BTC-USD", "price": price}) + "\n")


def foreign_reference(path: Path) -> None:
    """Write a reference in which every feature is about 50."""
    rows = np.random.default_rng(9).normal(50, 1, (20_000, len(DRIFT_INPUTS)))
    path.write_bytes(summarise(DRIFT_INPUTS, [rows]).dump())


async def fail(daemon: RunningDaemon) -> None:
    """Request answers newer than any, which are 503, until cancelled."""
    async with aiohttp.ClientSession(daemon.url) as client:
        while True:
            async with client.get("/latest/BTC-USD", params={"max_age": "0"}) as response:
                assert response.status == 503
            await asyncio.sleep(0.05)


async def activate(daemon: RunningDaemon, version: int) -> int:
    """Return the status of a request to activate a version."""
    body = {"variant": "ml", "version": version}
    async with (
        aiohttp.ClientSession(daemon.url) as client,
        client.put("/models/active", json=body) as response,
    ):
        return response.status


async def test_a_stale_feed_alerts(minutes: Path, tmp_path: Path) -> None:
    """After the last tick Prometheus scrapes an old forecast, and the pager is notified."""
    port = free_port()
    async with (
        monitoring(tmp_path / "monitoring", [port]) as notifications,
        running("--path", str(minutes), "--speed", "max", "--port", str(port), cwd=tmp_path),
    ):
        await notifications.wait_for("firing", "VolsvcFeedStale")
    assert notifications.paths["VolsvcFeedStale"] == "/page"


@pytest.mark.long
async def test_failures_alert_and_are_resolved(tmp_path: Path) -> None:
    """5xx, a stale feed, a refused model and drift alert with their severity, and resolve."""
    slow_day(tmp_path / "ticks.ndjson")
    foreign_reference(tmp_path / "reference.npz")
    port = free_port()
    drift = {
        "VOLSVC_DRIFT__REFERENCE": str(tmp_path / "reference.npz"),
        "VOLSVC_DRIFT__INTERVAL_S": "3600",
        "VOLSVC_DRIFT__MIN_ROWS": "50",
    }
    bad = (
        "VolsvcErrorBudgetFastBurn availability",
        "VolsvcFeedStale",
        "VolsvcModelRefused",
        "VolsvcDrift",
    )
    replay = ("--path", str(tmp_path / "ticks.ndjson"), "--speed", "max", "--port", str(port))
    async with monitoring(tmp_path / "monitoring", [port]) as notifications:
        async with running(*replay, env=drift, cwd=tmp_path) as daemon:
            await notifications.wait_for("firing", "VolsvcFeedStale")
            failing = asyncio.create_task(fail(daemon))
            assert await activate(daemon, 999) == 409
            await notifications.wait_for("firing", *bad)
            failing.cancel()
            await asyncio.wait({failing})
            assert await daemon.stop() == 0
        assert notifications.paths["VolsvcFeedStale"] == "/page"
        assert notifications.paths["VolsvcDrift"] == "/ticket"
        async with running("--port", str(port), cwd=tmp_path):
            await notifications.wait_for("resolved", *bad)
