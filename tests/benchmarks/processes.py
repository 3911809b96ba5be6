"""Memory and start-up time of an idle daemon."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from pathlib import Path

from tests.benchmarks.children import answered, end, job, server, start
from tests.benchmarks.consuming import record_bytes
from tests.benchmarks.figures import Figure, Results, Row, at_most
from tests.benchmarks.market import PER_S, symbol_of, ticks
from tests.benchmarks.recorded import write_records
from tests.benchmarks.rounds import MOST_ROUNDS, Bench, turns_of
from tests.benchmarks.versions import OURS, VERSIONS, beside, both
from tests.daemon import eventually
from tests.kafka.broker import free_port
from tests.load.tools import Service
from volsvc.transport import OutRecord
from volsvc.transport.codec import encode_tick

# What a process takes once is taken by the symbols that come first.
FIRST, YOUNG = 20, 60
SPARSE, SPARSE_S, DENSE = 800, 15, 300
# 1.0.0 takes half a second or more to fill the rings of a symbol.
V1_SYMBOLS = 50
SETTLED_S = 30.0
STILL_S = 1.0
RUN = (sys.executable, "-m", "volsvc", "run", "--source", "none")


async def measure(bench: Bench) -> Results:
    """Measure idle memory by source of the model, memory per symbol, and start-up."""
    results = Results(await starts(bench))
    results.rows += await idle(bench)
    results.rows += await a_symbol(bench)
    return results


# --- start --------------------------------------------------------------------------------


async def starts(bench: Bench) -> list[Row]:
    """Measure the time from the command to the first successful /health/ready."""

    def ready(variant: str) -> Callable[[], Awaitable[float]]:
        async def once() -> float:
            port = free_port()
            began = time.perf_counter()
            command = (*RUN, "--port", str(port))
            env = {"MODEL_VARIANT": variant}
            process = await start(*command, cwd=bench.folder, env=env, read=False)
            try:
                await answered(f"http://127.0.0.1:{port}/health/ready", process, every_s=0.01)
                return time.perf_counter() - began
            finally:
                await end(process)

        return once

    # The first start of a checkout compiles the kernels, which are kept on disk.
    await ready("ml")()
    baseline, ml = await turns_of(bench.sizes.rounds, ready("baseline"), ready("ml"))
    what, bound = "start to /health/ready with compiled kernels on disk", at_most(1.5, "figure")
    return [
        Row(f"{what}, {name}", Figure("volsvc", "s", took), None, bound)
        for name, took in (("baseline", baseline), ("ml from the package", ml))
    ]


# --- memory -------------------------------------------------------------------------------


async def idle(bench: Bench) -> list[Row]:
    """Measure the resident memory of an idle daemon, by source of its model."""
    rounds = bench.sizes.rounds
    (package,) = await turns_of(rounds, lambda: rss_mb(bench))
    rows = [Row("memory, idle, ml from the package", _mb(package), None, at_most(230, "figure"))]
    if not bench.sizes.registries:
        return rows
    # The client of MLflow is large, and of no use to the other parts.
    from tests.registry.store import mlflow_server

    uri = f"sqlite:///{bench.folder / 'mlflow.db'}"
    await asyncio.to_thread(_register, uri, bench.folder)
    (local,) = await turns_of(rounds, lambda: rss_mb(bench, uri))
    port = free_port()
    async with mlflow_server(bench.folder, port):
        address = f"http://127.0.0.1:{port}"
        await asyncio.to_thread(_register, address, bench.folder)
        (remote,) = await turns_of(rounds, lambda: rss_mb(bench, address))
    what = "memory, idle, ml from a registry"
    return [
        *rows,
        Row(f"{what} over HTTP", _mb(remote), None, at_most(230, "figure")),
        Row(f"{what} in a local sqlite file", _mb(local), _mb(package, "from the package")),
    ]


def _register(uri: str, folder: Path) -> None:
    from tests.registry.store import digest_of, move_alias, register, write_candidate

    path = write_candidate(folder, "good", 1.1)
    move_alias(uri, register(uri, path, digest_of(path)))


def _mb(rounds: list[float], name: str = "volsvc") -> Figure:
    return Figure(name, "MB", rounds)


async def rss_mb(bench: Bench, uri: str = "") -> float:
    """Return the resident memory of a new daemon that serves version 1 of `uri`, once stable."""
    folder = bench.folder / f"daemon-{free_port()}"
    folder.mkdir()
    env = {"MLFLOW_TRACKING_URI": uri, "VOLSVC_MODEL__POLL_S": "0.5"} if uri else {}
    async with server(*RUN, "--port", "0", cwd=folder, **env) as served:
        if uri:
            cached = folder / "var"
            await eventually(lambda: _cached(cached), SETTLED_S, "the registered model is fetched")
        return await still(served)


async def _cached(folder: Path) -> bool:
    return any(folder.rglob("*.npz"))


async def still(served: Service) -> float:
    """Return the resident memory in MB once it has not changed for a second."""
    before, since = served.rss_mb(), time.monotonic()
    while time.monotonic() - since < STILL_S:
        await asyncio.sleep(0.1)
        now = served.rss_mb()
        if abs(now - before) > 0.1:
            before, since = now, time.monotonic()
    return before


async def a_symbol(bench: Bench) -> list[Row]:
    """Measure the memory of a symbol, at first and when every ring of its history is full."""
    symbols = bench.sizes.ring_symbols
    young = await turns_of(bench.sizes.rounds, grown(bench, _young(bench, symbols)))
    mine, its = (full_rings(bench, number) for number in (symbols, min(symbols, V1_SYMBOLS)))
    rounds = min(bench.sizes.rounds, MOST_ROUNDS)
    ours, *others = (
        Figure(who, "KB", [one["kb"] for one in found])
        for who, found in zip(
            VERSIONS, await both(bench, rounds, "memory", mine, its), strict=False
        )
    )
    kb = record_bytes() / 1024
    full = "memory of a symbol, with full rings of rows, forecasts and outcomes"
    return [
        beside(full, ours, others, at_most(48, "figure")),
        Row("record of a symbol", Figure("volsvc", "KB", [kb]), None, at_most(34, "figure")),
        Row(f"memory of a symbol, {YOUNG} ticks old", Figure("volsvc", "KB", young[0])),
    ]


def grown(bench: Bench, folder: Path, *history: int) -> Callable[[], Awaitable[float]]:
    """Return the KB that a symbol adds with the ticks of a folder, and rows of its history."""

    async def once() -> float:
        result = await job(sys.executable, OURS, "memory", folder, *history, cwd=bench.folder)
        return float(result["kb"])

    return once


def _young(bench: Bench, symbols: int) -> Path:
    return _written(bench, f"young-{symbols}", symbols, [(YOUNG, PER_S, 0)])


def full_rings(bench: Bench, symbols: int) -> Path:
    """Write the ticks that fill every ring of symbols, and return their folder."""
    # Slowly until those of forecasts and outcomes are full, and then quickly the rows.
    phases = [(SPARSE, 1 / SPARSE_S, -SPARSE), (DENSE, PER_S, 0)]
    return _written(bench, f"rings-{symbols}", symbols, phases)


def _written(
    bench: Bench, name: str, symbols: int, phases: Sequence[tuple[int, float, int]]
) -> Path:
    """Write ticks of the symbols that come first and of further ones, phase by phase."""
    folder = bench.folder / name
    if folder.exists():
        return folder
    folder.mkdir()
    first = min(FIRST, symbols)
    names = {symbol_of(number).encode() for number in range(first)}

    def records(number: int, known: Container[bytes]) -> Iterator[OutRecord]:
        for phase in phases:
            for tick in ticks(number, *phase):
                record = encode_tick(tick)
                if record.key not in known:
                    yield record

    write_records(folder / "first.records", records(first, ()))
    write_records(folder / "more.records", records(first + symbols, names))
    return folder
