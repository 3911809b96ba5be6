"""The number of series is bounded, whatever clients and producers send."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp

from tests.daemon import eventually, running

MANY = 10_000
KEPT = 50


async def test_unknown_paths_and_symbols_add_no_series(tmp_path: Path) -> None:
    """10,000 unknown paths are one route; of 10,000 symbols only max_symbols have series."""
    ticks = tmp_path / "ticks.ndjson"
    with ticks.open("w") as file:
        for number in range(MANY):
            tick = {
                "time": f"2026-01-05T14:{number // 600:02}:{number % 600 / 10:04.1f}Z",
                "symbol": f"S{number}-USD",
                "price": 100 + number % 7,
            }
            file.write(json.dumps(tick) + "\n")
    env = {"VOLSVC_FEATURES__MAX_SYMBOLS": str(KEPT), "VOLSVC_MODEL__VARIANT": "baseline"}
    async with running("--path", str(ticks), "--speed", "max", env=env, cwd=tmp_path) as daemon:

        async def replayed() -> bool:
            refused = await daemon.metric("volsvc_ticks_rejected_total")
            return refused + await daemon.metric("volsvc_ticks_total") >= MANY

        await eventually(replayed, 60, "every tick is taken or refused")
        async with aiohttp.ClientSession(daemon.url) as client:
            before = await scrape(client)
            await ask(client)
            after = await scrape(client)
    assert after.count("volsvc_forecast_age_seconds{") == KEPT
    # One status and the histogram's buckets for __unmatched__, and as much for the scrape itself.
    assert len(after.splitlines()) - len(before.splitlines()) < 60
    assert "/no/such" not in after
    assert len(after.splitlines()) < 2_500


async def scrape(client: aiohttp.ClientSession) -> str:
    """Return the text of a scrape without comments."""
    async with client.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


async def ask(client: aiohttp.ClientSession) -> None:
    """Request unknown paths and symbols, 16 at a time."""
    numbers = iter(range(MANY))

    async def some() -> None:
        for number in numbers:
            path = f"/no/such/{number}" if number % 2 else f"/latest/NONE{number}"
            async with client.get(path) as response:
                await response.read()

    await asyncio.gather(*(some() for _ in range(16)))
