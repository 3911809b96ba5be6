"""POST /predict and GET /latest compared with a bare handler, FastAPI and MLflow's server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.benchmarks.children import HERE, job, server, silent_server
from tests.benchmarks.figures import Curve, Figure, Results, Row, at_least, at_most, rates
from tests.benchmarks.rounds import MOST_ROUNDS, Bench, turns_of
from tests.daemon import eventually
from tests.kafka.broker import free_port
from tests.load.tools import SERVER_CPU, Service, service, wrk

SYMBOL = "BTC-USD"
CONNECTIONS = 32
LARGE = 1_000
# Seconds of load for each size of a body.
BODY_S = 1
# A peer may go on for a while with requests whose clients have left.
LOOK_S, IDLE, SETTLED_S = 0.2, 0.7, 30
PEERS = HERE / "peers"
INVOCATIONS = PEERS / "invocations.lua"
FASTAPI = "FastAPI, scikit-learn"
CEILING = "decode, numpy, model"
ANSWERED = f"{CEILING}, and the answer written"
MIDDLEWARE = "volsvc without the fast path"


@asynccontextmanager
async def ours(bench: Bench) -> AsyncIterator[Service]:
    """Run the daemon with defaults: three generated markets at their real rate."""
    async with service(bench.folder) as served:
        await eventually(lambda: _known(served), 30, f"a forecast of {SYMBOL}")
        yield served


async def _known(served: Service) -> bool:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{served.url}/latest/{SYMBOL}") as response,
    ):
        return response.status == 200


@asynccontextmanager
async def bare(bench: Bench, like: Service) -> AsyncIterator[Service]:
    """Run the bare handler; its constant of /latest is one of our answers."""
    path = bench.folder / "latest.json"
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{like.url}/latest/{SYMBOL}") as response,
    ):
        path.write_bytes(await response.read())
    module = ("-m", "tests.benchmarks.peers.bare", "--latest", path)
    async with server(sys.executable, *module, cwd=bench.folder) as served:
        yield served


@asynccontextmanager
async def fastapi(bench: Bench) -> AsyncIterator[Service]:
    """Run FastAPI on uvicorn, with a scikit-learn pipeline."""
    assert bench.peers is not None, "the peers are installed"
    script = PEERS / "fastapi_stack.py"
    async with server(bench.peers, script, cwd=bench.folder) as served:
        yield served


@asynccontextmanager
async def mlflow_serving(bench: Bench) -> AsyncIterator[Service]:
    """Run `mlflow models serve` with the same pipeline."""
    assert bench.peers is not None, "the peers are installed"
    path, port = bench.folder / "pipeline", free_port()
    await job(bench.peers, "peers/mlflow_model.py", path, cwd=bench.folder)
    command = ("-m", "mlflow", "models", "serve", "-m", path, "-p", str(port))
    url = f"http://127.0.0.1:{port}"
    # Beside ours: it looks for uvicorn and gunicorn on the path.
    env = {"PATH": f"{bench.peers.parent}:/usr/bin:/bin"}
    async with silent_server(
        *(bench.peers, *command, "--env-manager", "local"),
        url=url,
        probe="/ping",
        cwd=bench.folder,
        **env,
    ) as served:
        yield served


@asynccontextmanager
async def middleware_alone(bench: Bench) -> AsyncIterator[Service]:
    """Run the daemon without its fast path."""
    folder = bench.folder / "middleware"
    folder.mkdir()
    module = ("-m", "tests.benchmarks.jobs.without_fast_path")
    quiet = {"VOLSVC_MODEL__IMPORT_PACKAGED": "false"}
    async with server(sys.executable, *module, cwd=folder, **quiet) as served:
        await eventually(lambda: _known(served), 30, f"a forecast of {SYMBOL}")
        yield served


class Loaded(NamedTuple):
    """Figures of a server under load; `cpu_us` is its processor time per request."""

    rate: float
    p99_ms: float
    cpu_us: float


async def loaded(
    bench: Bench,
    served: Service,
    path: str,
    seconds: int,
    connections: int,
    rows: int = 0,
    **script: Path,
) -> Loaded:
    """Load a server with as many requests as it answers, once its previous work is done."""
    # Without peers nothing lingers, and other work on the machine is none of ours to wait for.
    if bench.peers is not None:
        await eventually(_server_cpu_idles, SETTLED_S, "the servers' processor is idle")
    used = served.cpu_s()
    found = await wrk(served.url + path, seconds, connections, rows, **script)
    used = served.cpu_s() - used
    return Loaded(found.rate, found.p99_ms, 1e6 * used / (found.rate * seconds))


async def _server_cpu_idles() -> bool:
    before = _idle_ticks()
    await asyncio.sleep(LOOK_S)
    return _idle_ticks() - before >= IDLE * LOOK_S * os.sysconf("SC_CLK_TCK")


def _idle_ticks() -> int:
    """Return the clock ticks in which the servers' processor was idle (proc_stat(5))."""
    lines = Path("/proc/stat").read_text().splitlines()
    (fields,) = (line.split() for line in lines if line.startswith(f"cpu{SERVER_CPU} "))
    return int(fields[4])


Load = Callable[[], Awaitable[Loaded]]


def figures_of(found: list[Loaded], name: str) -> tuple[Figure, Figure, Figure]:
    """Measure requests per second, p99 and processor time per request."""
    rate, p99_ms, cpu_us = map(list, zip(*found, strict=True))
    return (
        Figure(name, "requests/s", rate),
        Figure(name, "ms", p99_ms),
        Figure(name, "µs", cpu_us),
    )


async def measure(bench: Bench) -> Results:
    """Measure every row that goes through a socket."""
    results = Results()
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(ours(bench))
        ceiling = await stack.enter_async_context(bare(bench, served))
        peer = await stack.enter_async_context(fastapi(bench)) if bench.peers else None
        results.add(await single_rows(bench, served, ceiling, peer))
        results.add(await large_bodies(bench, served, ceiling, peer))
        # A second one, whose constant is an answer of a symbol that is as old.
        like = await stack.enter_async_context(bare(bench, served))
        results.add(await newest(bench, served, like))
        plain = await stack.enter_async_context(middleware_alone(bench))
        results.rows += await fast_path(bench, served, plain)
    return results


async def single_rows(
    bench: Bench, served: Service, ceiling: Service, peer: Service | None
) -> Results:
    """Measure one row a request over 32 connections."""
    seconds = bench.sizes.http_s
    works: dict[str, Load] = {
        "volsvc": lambda: loaded(bench, served, "/predict", seconds, CONNECTIONS, 1),
        "bare handler": lambda: loaded(bench, ceiling, "/predict", seconds, CONNECTIONS, 1),
    }
    async with AsyncExitStack() as stack:
        if peer is not None:
            other = await stack.enter_async_context(mlflow_serving(bench))
            works[FASTAPI] = lambda: loaded(bench, peer, "/predict", seconds, CONNECTIONS, 1)
            works["mlflow models serve"] = lambda: loaded(
                bench, other, "/invocations", seconds, CONNECTIONS, 1, script=INVOCATIONS
            )
        for work in works.values():
            await work()
        found = await turns_of(bench.sizes.rounds, *works.values())
    figures = {name: figures_of(rounds, name) for name, rounds in zip(works, found, strict=True)}
    return Results(_single_rows(figures))


def _single_rows(figures: dict[str, tuple[Figure, Figure, Figure]]) -> list[Row]:
    what = f"POST /predict, one row, {CONNECTIONS} connections"
    (rate, slow, cpu), (ceiling, ceiling_slow, ceiling_cpu) = (
        figures.pop(name) for name in ("volsvc", "bare handler")
    )
    rows = [
        Row(what, rate, ceiling, at_least(0.75)),
        Row(f"{what}: p99", slow, ceiling_slow, at_most(2)),
        Row(f"{what}: processor time", cpu, ceiling_cpu),
    ]
    for name, (theirs, _, _) in figures.items():
        rows.append(Row(what, rate, theirs, at_least(5) if name == FASTAPI else None))
    return rows


async def large_bodies(
    bench: Bench, served: Service, ceiling: Service, peer: Service | None
) -> Results:
    """Measure many rows a request over one connection, and the curve of time by rows."""
    targets = {
        "volsvc": (served, "/predict"),
        CEILING: (ceiling, "/model"),
        ANSWERED: (ceiling, "/answered"),
    }
    if peer is not None:
        targets[FASTAPI] = (peer, "/predict")
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in targets}
    found = Results()
    for size in sorted({*bench.sizes.bodies, LARGE}):
        figures = await _bodies(bench, targets, size)
        for name, figure in figures.items():
            lines[name].append((size, figure.median * 1e3 / size))
        if size == LARGE:
            found = _large_rows(figures)
    title = "POST /predict: time a row against rows a request"
    curve = Curve("rows", title, "rows a request", "µs a row", lines, from_zero=False)
    found.curves.append(curve)
    return found


async def _bodies(
    bench: Bench, targets: dict[str, tuple[Service, str]], size: int
) -> dict[str, Figure]:
    rounds = bench.sizes.rounds if size == LARGE else min(bench.sizes.rounds, MOST_ROUNDS)

    def load(served: Service, path: str) -> Load:
        return lambda: loaded(bench, served, path, BODY_S, 1, size)

    found = await turns_of(rounds, *(load(*target) for target in targets.values()))
    return {
        name: Figure(name, "ms", [1e3 / each.rate for each in values])
        for name, values in zip(targets, found, strict=True)
    }


def _large_rows(figures: dict[str, Figure]) -> Results:
    what = f"POST /predict, {LARGE:,} rows"
    results = Results(
        [
            Row(what, figures["volsvc"], figures[ANSWERED], at_most(1.2)),
            Row(what, figures["volsvc"], figures[CEILING]),
        ]
    )
    if FASTAPI in figures:
        # All did the same rows: their rates are the reciprocals of the times.
        mine, ceiling, theirs = (
            rates(name, "rows/s", LARGE * 1e3, figures[name].rounds)
            for name in ("volsvc", CEILING, FASTAPI)
        )
        results.rows.append(Row(what, mine, theirs))
        results.notes.append(
            f"Of {LARGE:,} rows a request the ceiling itself ({CEILING}, and no answer written) "
            f"does {ceiling.over(theirs):.1f} times what FastAPI with scikit-learn does."
        )
    return results


async def newest(bench: Bench, served: Service, ceiling: Service) -> Results:
    """Measure GET /latest/{symbol} of a symbol that ticks meanwhile."""

    def load(each: Service) -> Load:
        return lambda: loaded(bench, each, f"/latest/{SYMBOL}", bench.sizes.http_s, CONNECTIONS)

    found = await turns_of(bench.sizes.rounds, load(served), load(ceiling))
    (rate, _, cpu), (theirs, _, their_cpu) = map(figures_of, found, ("volsvc", "bare handler"))
    what = "GET /latest/{symbol}"
    return Results(
        [
            Row(what, rate, theirs, at_least(0.85)),
            Row(f"{what}: processor time", cpu, their_cpu),
        ]
    )


async def fast_path(bench: Bench, served: Service, plain: Service) -> list[Row]:
    """Measure the processor time that the fast path saves."""
    rows = []
    for what, path, posted in (
        ("POST /predict, one row", "/predict", 1),
        ("GET /latest/{symbol}", f"/latest/{SYMBOL}", 0),
    ):

        def load(each: Service, path: str = path, posted: int = posted) -> Load:
            return lambda: loaded(bench, each, path, bench.sizes.http_s, CONNECTIONS, posted)

        found = await turns_of(bench.sizes.rounds, load(served), load(plain))
        (_, _, cpu), (_, _, other) = map(figures_of, found, ("volsvc", MIDDLEWARE))
        rows.append(Row(f"{what}: processor time", cpu, other))
    return rows
