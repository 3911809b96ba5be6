"""Servers and jobs, each in a process and on a processor of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.load.tools import SERVER_CPU, Service

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
START_S = 90.0
JOB_S = 900.0


def environment(**more: str) -> dict[str, str]:
    """Return an environment of one thread for each library, since one processor is measured."""
    ours = ("VOLSVC_", "KAFKA_", "MLFLOW_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    clean["VOLSVC_MODEL__IMPORT_PACKAGED"] = "false"
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{clean.get('PATH', '')}"
    return {**clean, "PATH": path, **threads, **quiet, **more}


async def start(
    *command: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    cpu: str = SERVER_CPU,
    read: bool = True,
) -> asyncio.subprocess.Process:
    """Start a command in a process group of its own; its standard error goes to a file in `cwd`.

    So does what it prints unless somebody will `read` it: a full pipe would stop it.
    """
    with (cwd / "stderr.log").open("ab") as errors:
        return await asyncio.create_subprocess_exec(
            *("taskset", "-c", cpu, *map(str, command)),
            cwd=cwd,
            env=environment(**(env or {})),
            stdout=asyncio.subprocess.PIPE if read else errors,
            stderr=errors,
            start_new_session=True,
        )


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


@asynccontextmanager
async def server(
    *command: str | Path, cwd: Path, cpu: str = SERVER_CPU, **env: str
) -> AsyncIterator[Service]:
    """Run a server that prints `ready at URL`, and yield the URL."""
    process = await start(*command, cwd=cwd, env=env, cpu=cpu)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            line = (await process.stdout.readline()).decode()
        found = re.search(r"ready at (\S+)", line)
        assert found, f"{command}: {line!r}: {(cwd / 'stderr.log').read_text()[-2000:]}"
        yield Service(found[1].rstrip("/"), process.pid)
    finally:
        await end(process)


@asynccontextmanager
async def silent_server(
    *command: str | Path, url: str, probe: str, cwd: Path, **env: str
) -> AsyncIterator[Service]:
    """Run a server that is ready when `probe` is answered with 200."""
    process = await start(*command, cwd=cwd, env=env, read=False)
    try:
        await answered(url + probe, process)
        yield Service(url, process.pid)
    finally:
        await end(process)


async def answered(url: str, process: asyncio.subprocess.Process, every_s: float = 0.1) -> None:
    """Wait until a GET is answered with 200."""
    deadline = time.monotonic() + START_S
    async with aiohttp.ClientSession() as client:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(url) as response:
                    if response.status == 200:
                        return
            assert process.returncode is None, f"{url}: its server has ended"
            assert time.monotonic() < deadline, f"{url}: no answer within {START_S} s"
            await asyncio.sleep(every_s)


async def job(
    python: str | Path, script: str, *arguments: object, cwd: Path, **env: str
) -> dict[str, Any]:
    """Run a job and return the JSON that it prints; `script` is a file below this folder."""
    command = (python, HERE / script, *map(str, arguments))
    out = await _ended(*command, cwd=cwd, env=env)
    lines = [line for line in out.splitlines() if line.startswith(b"{")]
    answer: dict[str, Any] = msgspec.json.decode(lines[-1])
    return answer


async def seconds_of(*command: str | Path, cwd: Path, **env: str) -> float:
    """Return the seconds that a command takes, its start included."""
    began = time.perf_counter()
    await _ended(*command, cwd=cwd, env=env)
    return time.perf_counter() - began


async def _ended(*command: str | Path, cwd: Path, env: Mapping[str, str]) -> bytes:
    """Run a command to its end and return what it prints."""
    process = await start(*command, cwd=cwd, env=env)
    try:
        async with asyncio.timeout(JOB_S):
            assert process.stdout is not None
            out = await process.stdout.read()
            code = await process.wait()
    finally:
        await end(process)
    errors = (cwd / "stderr.log").read_text(errors="replace")
    assert code == 0, f"{command} ended with {code}: {errors[-2000:]}"
    return out
