"""Speed compared with the ceiling and with peers: `make bench`, or `make bench-quick` for a minute.

Each figure stands beside a reference of the same run, measured in turns with it; ratios hold where
times move with the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.benchmarks import (
    curves,
    engine,
    fitting,
    inference,
    instances,
    latency,
    limits,
    processes,
    reading,
    remembering,
    serving,
    stream,
    versions,
)
from tests.benchmarks.figures import Results, rounded
from tests.benchmarks.page import draw, section, table_of, written_into
from tests.benchmarks.rounds import FULL, QUICK, Bench, stay_off_server_cpu
from tests.kafka.broker import Broker
from tests.needs import require
from volsvc.telemetry.logs import configure_logs

PEERS = Path(".cache/benchmarks/venv/bin/python")
V1 = Path(".cache/benchmarks/v1/venv/bin")
RESULTS = Path("var/benchmarks")
PAGE, IMAGES = Path("docs/performance.md"), "images/performance"
Part = Callable[[Bench], Results | Awaitable[Results]]
PARTS: Mapping[str, Part] = {
    "http": serving.measure,
    "inference": inference.measure,
    "engine": engine.measure,
    "versions": versions.measure,
    "reading": reading.measure,
    "remembering": remembering.measure,
    "curves": curves.measure,
    "stream": stream.measure,
    "instances": instances.measure,
    "latency": latency.measure,
    "fitting": fitting.measure,
    "limits": limits.measure,
    "processes": processes.measure,
}
QUICK_PARTS = (
    "http",
    "inference",
    "engine",
    "versions",
    "reading",
    "remembering",
    "curves",
    "stream",
    "latency",
)
ON_A_BROKER = {"stream", "latency", "instances"}


@contextmanager
def broker(folder: Path, parts: Sequence[str]) -> Iterator[str]:
    """Yield a broker's address if a part needs one; it runs on the load's processor."""
    if not ON_A_BROKER & set(parts):
        yield ""
        return
    started = Broker(folder / "broker")
    started.start()
    try:
        yield started.bootstrap_servers
    finally:
        started.kill()


def measure(parts: Sequence[str], bench: Bench) -> Results:
    """Run the parts one after another, and return their results."""
    results = Results()
    with broker(bench.folder, parts) as servers:
        for name in parts:
            started = time.monotonic()
            folder = bench.folder / name
            folder.mkdir()
            found = PARTS[name](replace(bench, folder=folder, servers=servers))
            results.add(found if isinstance(found, Results) else asyncio.run(finished(found)))
            print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    return results


async def finished(part: Awaitable[Results]) -> Results:
    """Run an asynchronous part and return its results."""
    return await part


def machine(command: str) -> str:
    """Return a line with the command, the machine and the date."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    where = f"{cpu}, {os.cpu_count()} processors, {platform.system()}"
    return (
        f"`{command}` on {datetime.now(UTC):%Y-%m-%d}: {where}, Python {platform.python_version()}."
    )


def keep(results: Results, heading: str) -> None:
    """Write the rounds of every figure to a file, and print the table."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    value = {"machine": heading, **msgspec.to_builtins(results)}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value)))
    print(f"\n{heading}\n\n{table_of(results.rows)}\n")
    for curve in results.curves:
        print(f"{curve.title}, {curve.y} at {curve.x}")
        for name, points in curve.lines.items():
            print(f"  {name}: " + ", ".join(f"{rounded(y)} at {x:,g}" for x, y in points))
    print(f"\nrounds: {path}")


def publish(results: Results, heading: str) -> None:
    """Write the measured part of the page and its plots."""
    for curve in results.curves:
        draw(curve, PAGE.parent / IMAGES)
    PAGE.write_text(written_into(PAGE.read_text(), section(results, heading, IMAGES)))


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--quick", action="store_true", help="a minute, without the peers")
    parser.add_argument(
        "--join",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="rounds of an earlier run to add; alone, nothing else is measured",
    )
    parser.add_argument("--page", action="store_true", help=f"write {PAGE}")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not (options.parts or options.join):
        options.parts = QUICK_PARTS if options.quick else list(PARTS)
    return options


def main() -> None:
    """Run the chosen parts."""
    options = parsed()
    require("taskset", "wrk")
    stay_off_server_cpu()
    configure_logs("error", "console")
    peers, v1 = (
        path.absolute() if path.exists() and not options.quick else None for path in (PEERS, V1)
    )
    results = Results()
    for path in options.join:
        results.add(msgspec.json.decode(path.read_bytes(), type=Results))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(QUICK if options.quick else FULL, Path(folder), peers, v1)
        results.add(measure(options.parts, bench))
    heading = machine("make bench-quick" if options.quick else "make bench")
    keep(results, heading)
    if options.page:
        publish(results, heading)


if __name__ == "__main__":
    main()
