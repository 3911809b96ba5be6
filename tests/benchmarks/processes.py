"""Memory and start-up time of an idle daemon."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.benchmarks.children import answered, end, job, server, start
from tests.benchmarks.figures import Figure, Results, Row, at_most
from tests.benchmarks.rounds import Bench, turns_of
from tests.daemon import eventually
from tests.kafka.broker import free_port
from tests.load.tools import Service
from volsvc.config.settings import FeatureSettings

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

    baseline, ml = await turns_of(bench.sizes.rounds, ready("baseline"), ready("ml"))
    what = "start to /health/ready"
    return [
        Row(f"{what}, baseline", Figure("volsvc", "s", baseline), None, at_most(1.5, "figure")),
        Row(f"{what}, ml from the package", Figure("volsvc", "s", ml), None, at_most(4, "figure")),
    ]


# --- memory -------------------------------------------------------------------------------


async def idle(bench: Bench) -> list[Row]:
    """Measure the resident memory of an idle daemon, by source of its model."""
    rounds = bench.sizes.rounds
    (package,) = await turns_of(rounds, lambda: rss_mb(bench))
    rows = [Row("memory, idle, ml from the package", _mb(package), None, at_most(150, "figure"))]
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
        Row(f"{what} over HTTP", _mb(remote), None, at_most(150, "figure")),
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


def grown(bench: Bench, ticks: int, history: int) -> Callable[[], Awaitable[float]]:
    """Return the KB that a symbol adds after `ticks` ticks, with a history of `history` rows."""

    async def once() -> float:
        where = (bench.sizes.ring_symbols, ticks, history)
        result = await job(sys.executable, "jobs/symbols.py", *where, cwd=bench.folder)
        return float(result["kb"])

    return once


async def a_symbol(bench: Bench) -> list[Row]:
    """Measure the memory of a symbol, at first and with a full history."""
    rows = FeatureSettings().history
    young, full = await turns_of(
        bench.sizes.rounds, grown(bench, YOUNG, rows), grown(bench, FULL_RING, rows)
    )
    return [
        Row(f"memory of a symbol, {what}", Figure("volsvc", "KB", kb), None, at_most(32, "figure"))
        for what, kb in ((f"{YOUNG} ticks old", young), ("with a full ring of rows", full))
    ]


YOUNG, FULL_RING = 60, 1_100
