"""Load on a running service: `make load` writes docs/load_report.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl

from tests.load.scenarios import all_of
from tests.load.tools import Figures, service
from tests.needs import require

mpl.use("Agg")
from matplotlib import pyplot as plt

QUANTILES = (0.5, 0.9, 0.95, 0.99)
OBJECTIVE_MS = 800


def row(figures: Figures) -> str:
    """Return one line of the table."""
    statuses = ", ".join(f"{n:,} of {status}" for status, n in sorted(figures.statuses.items()))
    times = " | ".join(f"{figures.quantile(q):.1f}" for q in QUANTILES)
    worst = max(figures.times_ms, default=float("nan"))
    return (
        f"| {figures.name} | {figures.rate:,.0f} | {statuses} | {times} | {worst:.1f} "
        f"| {figures.note} |"
    )


def report(rate: float, found: Sequence[Figures], command: str, plot: str) -> str:
    """Return the whole page."""
    burst = found[0]
    head = f"""# Load report

Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}. Machine: {os.cpu_count()} cores
({platform.machine()}, {platform.system()}), Python {platform.python_version()}. The service runs
on one core (model `ml`, generated ticks of three markets at their real pace), the load generators
(wrk, hey, and for streams a client of our own) on another. Figures vary with the other load of the
machine; ratios to capacity vary less.

- Capacity, measured by wrk with 32 connections and one row per request: **{rate:,.0f} requests/s**.
- Burst of 100 requests at once: p95 **{burst.quantile(0.95):.1f} ms**. The objective is
  {OBJECTIVE_MS} ms.

Times are ms of accepted answers (200), from sending to the last byte. 429 is `overloaded`: refused
at once, with the seconds after which to try again. For streams a time is from the creation of the
event to its arrival. hey keeps the first million answers of a scenario, and none that takes 20 s.

| scenario | answers/s | statuses | p50 | p90 | p95 | p99 | max | beside |
| --- | --: | --- | --: | --: | --: | --: | --: | --- |
"""
    return head + "\n".join(row(figures) for figures in found) + f"\n\n![Percentiles]({plot})\n"


def draw(found: Sequence[Figures], path: Path) -> None:
    """Plot the percentiles of every scenario on one logarithmic axis."""
    figure, axes = plt.subplots(figsize=(9, 0.45 * len(found) + 1.6), layout="constrained")
    for quantile, marker in zip(QUANTILES, "o^sD", strict=True):
        times = [figures.quantile(quantile) for figures in found]
        axes.plot(times, range(len(found)), marker, label=f"p{100 * quantile:g}")
    axes.axvline(OBJECTIVE_MS, color="grey", linestyle=":", label="objective of p95")
    axes.set(xscale="log", xlabel="ms", yticks=range(len(found)))
    axes.set_yticklabels([figures.name for figures in found])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110, metadata={"Software": None})


async def run(out: Path, seconds: float) -> None:
    """Measure, then write page and plot."""
    require("taskset", "wrk", "hey")
    with tempfile.TemporaryDirectory() as folder:
        async with service(Path(folder)) as served:
            rate, found = await all_of(served, seconds)
    command = "make load" if seconds == 60 else f"python -m tests.load --seconds {seconds:g}"
    draw(found, out.with_suffix(".png"))
    out.write_text(report(rate, found, command, out.with_suffix(".png").name))
    print(out.read_text())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/load_report.md"))
    parser.add_argument("--seconds", type=float, default=60, help="of overload")
    options = parser.parse_args()
    asyncio.run(run(options.out, options.seconds))
