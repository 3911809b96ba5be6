"""Minutes at half of capacity, with model swaps, key reloads, streams and a replay.

`make soak` ends with 0 when nothing failed, memory does not grow after the warm-up, and no task and
no file descriptor is left over; else with 1 and what it saw.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.daemon import metric_sum
from tests.load.streams import watching
from tests.load.tools import BODY, Service, capacity, paced, service
from tests.needs import require
from volsvc.commands.files import generate_file

SAMPLE_S, SWAP_S, STREAMS = 1.0, 5.0, 50
WARM_UP = 0.3
BLOCKS = 20
# A slope below this is noise whatever its error: a day of it is less than the start-up takes.
SLACK_MB_PER_HOUR = 20.0
VARIANTS = ("baseline", "ml")


@dataclass(slots=True)
class Samples:
    """Samples of the run: seconds, resident memory in MB, tasks, descriptors."""

    at_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)
    fds: list[int] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    swaps: int = 0
    events: int = 0


def slope(at_s: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return growth per hour and its standard error, from means of blocks."""
    size = max(1, len(values) // BLOCKS)
    blocks = range(0, size * (len(values) // size), size)
    x = [statistics.fmean(at_s[i : i + size]) / 3_600 for i in blocks]
    y = [statistics.fmean(values[i : i + size]) for i in blocks]
    fit = statistics.linear_regression(x, y)
    residuals = [b - (fit.intercept + fit.slope * a) for a, b in zip(x, y, strict=True)]
    spread = sum((a - statistics.fmean(x)) ** 2 for a in x)
    error = math.sqrt(sum(r * r for r in residuals) / (len(x) - 2) / spread)
    return fit.slope, error


async def sample(served: Service, samples: Samples) -> None:
    """Sample the process at intervals."""
    started = time.monotonic()
    async with aiohttp.ClientSession(served.url) as client:
        while True:
            await asyncio.sleep(SAMPLE_S)
            async with client.get("/metrics") as response:
                text = await response.text()
            samples.at_s.append(time.monotonic() - started)
            samples.rss_mb.append(served.rss_mb())
            samples.tasks.append(metric_sum(text, "volsvc_asyncio_tasks"))
            samples.fds.append(served.fds())


async def swap(served: Service, config: Path, samples: Samples) -> None:
    """Change the active model by SIGHUP, and check that it changed."""
    async with aiohttp.ClientSession(served.url) as client:
        while True:
            variant = VARIANTS[samples.swaps % 2]
            config.write_text(f'[model]\nvariant = "{variant}"\n')
            os.kill(served.pid, signal.SIGHUP)
            await asyncio.sleep(SWAP_S)
            async with client.get("/version") as response:
                model = (await response.json())["model"]
            assert model.startswith(variant), f"{model} serves, {variant} was asked for"
            samples.swaps += 1


async def follow(served: Service, samples: Samples) -> None:
    """Open streams, keep them for a while, and close them."""
    while True:
        async with watching(served.url, STREAMS) as watched:
            await asyncio.sleep(SWAP_S)
        samples.events += watched.events


async def batches(served: Service, samples: Samples) -> None:
    """Send a large batch once a second."""
    rows = json.loads(BODY)["rows"] * 2_000
    body = json.dumps({"rows": rows}).encode()
    async with aiohttp.ClientSession(served.url) as client:
        while True:
            async with client.post("/predict", data=body) as response:
                await response.read()
            samples.statuses[response.status] += 1
            await asyncio.sleep(1)


async def soak(minutes: float) -> tuple[Samples, float]:
    """Run the soak; return its samples, and the rate of requests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, ticks = folder / "config.toml", folder / "ticks.ndjson"
        config.write_text('[model]\nvariant = "ml"\n')
        generate_file(
            ticks, minutes=30, seed=5, symbols=("BTC-USD", "ETH-USD"), start="2026-01-05T14:00:00Z"
        )
        arguments = ("--config", str(config), "--path", str(ticks), "--speed", "20")
        # The in-process bus keeps this many records; filled early, they are no growth.
        env = {"VOLSVC_SOURCE__LOOP": "true", "VOLSVC_BUS__QUEUE_MAX_RECORDS": "500"}
        async with service(folder, *arguments, **env) as served:
            samples = Samples()
            rate = await capacity(served.url, 5) / 2
            works = [
                asyncio.create_task(work)
                for work in (
                    sample(served, samples),
                    swap(served, config, samples),
                    follow(served, samples),
                    batches(served, samples),
                )
            ]
            left_s = 60 * minutes
            while left_s > 0:
                part_s = min(30.0, left_s)
                found = await paced("", served.url, rate, part_s, 32)
                samples.statuses += found.statuses
                left_s -= part_s
                for work in works:
                    if work.done():
                        work.result()
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            return samples, rate


def verdict(samples: Samples) -> list[str]:
    """Return the faults that the samples show."""
    first = int(WARM_UP * len(samples.at_s))
    growth, error = slope(samples.at_s[first:], samples.rss_mb[first:])
    tenth = max(1, len(samples.rss_mb) // 10)
    print("memory, MB:", *(f"{value:.0f}" for value in samples.rss_mb[::tenth]))
    print(
        f"memory: {growth:+.1f} MB/h, standard error {error:.1f}, now {samples.rss_mb[-1]:.0f} MB"
    )
    faults = []
    if set(samples.statuses) != {200}:
        faults.append(f"statuses: {dict(samples.statuses)}")
    if growth > max(SLACK_MB_PER_HOUR, 3 * error):
        faults.append(f"memory grows by {growth:.1f} MB/h")
    for name, values in (("tasks", samples.tasks), ("descriptors", samples.fds)):
        half = values[first:]
        early, late = half[: len(half) // 2], half[len(half) // 2 :]
        print(f"{name}: median {statistics.median(early):g}, then {statistics.median(late):g}")
        if statistics.median(late) > statistics.median(early) + 5:
            faults.append(f"{name} grow")
    return faults


def main() -> None:
    """Run the soak, and exit with its verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    require("taskset", "wrk", "hey")
    samples, rate = asyncio.run(soak(options.minutes))
    print(
        f"{options.minutes:g} minutes at {rate:,.0f} requests/s: "
        f"{sum(samples.statuses.values()):,} answers, {samples.swaps} swaps, "
        f"{samples.events:,} events to streams"
    )
    faults = verdict(samples)
    print("\n".join(faults) or "nothing leaks, nothing failed")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
