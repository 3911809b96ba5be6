"""Runs daemons and commands in processes of their own, as a user does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import aiohttp

from tests.waiting import PATIENCE

# Also of one that compiles its kernels before, on a busy machine.
READY_S = 60.0


async def eventually(
    state: Callable[[], Awaitable[bool]], within_s: float, what: str, every_s: float = 0.05
) -> None:
    """Wait until a state holds; fails after PATIENCE times `within_s`, and names `what` it was."""
    deadline = time.monotonic() + PATIENCE * within_s
    while not await state():
        assert time.monotonic() < deadline, f"not within {PATIENCE * within_s} s: {what}"
        await asyncio.sleep(every_s)


def metric_sum(text: str, name: str) -> float:
    """Return the sum of a metric over its labels, in Prometheus' text format."""
    lines = [line for line in text.splitlines() if line.startswith((name + "{", name + " "))]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


class RunningDaemon:
    """A daemon in another process, and a client of it."""

    def __init__(self, process: asyncio.subprocess.Process, session: aiohttp.ClientSession) -> None:
        self.process = process
        self._session = session
        self.url = ""
        self.log = ""
        self._reader: asyncio.Task[None] | None = None

    async def wait_ready(self) -> None:
        """Read the line that names the address, then collect the log."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE * READY_S):
            line = (await self.process.stdout.readline()).decode()
        assert "ready at" in line, f"{line!r}: {await self._rest()}"
        self.url = line.split("ready at ")[1].strip().rstrip("/")
        self._reader = asyncio.create_task(self._keep_log())

    async def _rest(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    async def _keep_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log += line.decode()

    async def get(self, path: str) -> Any:
        """Return the JSON body of a GET, whatever its status."""
        async with self._session.get(self.url + path) as response:
            return await response.json(content_type=None)

    async def text(self, path: str) -> str:
        """Return the body of a GET as text."""
        async with self._session.get(self.url + path) as response:
            return await response.text()

    async def status(self, path: str) -> int:
        """Return the status of a GET."""
        async with self._session.get(self.url + path) as response:
            return response.status

    async def predict(self, **body: Any) -> tuple[int, Any]:
        """Return the status and body of a POST /predict."""
        async with self._session.post(self.url + "/predict", json=body) as response:
            return response.status, await response.json()

    async def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        async with self._session.get(self.url + "/metrics") as response:
            return metric_sum(await response.text(), name)

    async def stop(self, number: int = signal.SIGTERM, within_s: float = 15) -> int:
        """Send a signal and return the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE * within_s):
            code = await self.process.wait()
            if self._reader is not None:
                await self._reader
        return code


@asynccontextmanager
async def running(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path
) -> AsyncIterator[RunningDaemon]:
    """Run `volsvc run` on a free port; kill it at the end if it still runs."""
    async with serving(await launch("run", "--port", "0", *arguments, env=env, cwd=cwd)) as daemon:
        yield daemon


@asynccontextmanager
async def serving(process: asyncio.subprocess.Process) -> AsyncIterator[RunningDaemon]:
    """Yield a started daemon once it is ready; kill it at the end if it still runs."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        daemon = RunningDaemon(process, session)
        failed = True
        try:
            await daemon.wait_ready()
            yield daemon
            failed = False
        finally:
            code = process.returncode
            if code is None:
                await daemon.stop(signal.SIGKILL)
            if daemon._reader is not None:
                await daemon._reader
            if failed:
                print(f"exit code {code}; its log ends so:\n{daemon.log[-6_000:]}")
        assert "compiled_late" not in daemon.log, "a kernel that no warm-up compiles"


def clean_environment() -> dict[str, str]:
    """Return the environment of a volsvc command, without settings from outside."""
    # MLflow's client writes the store of an earlier test into this process's environment.
    ours = ("VOLSVC_", "KAFKA_", "MLFLOW_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    # Registration takes seconds of processor time; tests of the registry enable it.
    return {**clean, "VOLSVC_MODEL__IMPORT_PACKAGED": "false"}


async def launch(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path,
    program: Sequence[str] = ("volsvc",),
    stdin: IO[bytes] | None = None,
) -> asyncio.subprocess.Process:
    """Start a volsvc command; `program` is another module, with arguments before the command."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *program,
        *arguments,
        env={**clean_environment(), **(env or {})},
        cwd=cwd,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def command(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path,
    within_s: float = 60,
    stdin: IO[bytes] | None = None,
) -> tuple[int, str, str]:
    """Run a volsvc command to its end; return exit code, standard output and standard error."""
    process = await launch(*arguments, env=env, cwd=cwd, stdin=stdin)
    async with asyncio.timeout(PATIENCE * within_s):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
