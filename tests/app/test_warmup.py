"""Kernels are compiled once: at the installation, else at the first start, never while serving."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.daemon import RunningDaemon, clean_environment, command, eventually, launch, running
from tests.kafka.broker import free_port
from tests.waiting import PATIENCE

pytestmark = pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="nothing is compiled")

# A cold compilation takes half a minute of a processor that may be busy.
COLD_S = 120.0
WINDOW = {"ret_mean": 0.00001, "ret_std": 0.0002, "n": 50}
LIVE = {**WINDOW, "span_s": 60.0, "symbol": "BTC-USD"}
# Kernels that the first `volsvc train` or `evaluate` compiles: the service has no use for them.
OF_TRAINING = {
    "_calibrate",
    "floored_level_variances",
    "turbulence_weights",
    "weighted_sums",
    "window_terms",
}
# Prints the number of compilations and the kernels that a warm-up has left out.
REACHED = """
from volsvc.compiled import KERNELS
from volsvc.pipeline.warmup import warm_up
import volsvc.commands.files, volsvc.commands.forecasting, volsvc.commands.training
done = warm_up()
left = (kernel.py_func.__qualname__ for kernel in KERNELS if not kernel.signatures)
print(done.compiled, *left)
"""


def cold(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a command that finds no machine code."""
    return {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}


async def test_a_filled_cache_is_loaded(tmp_path: Path) -> None:
    """`volsvc warmup` compiles nothing once the cache is filled, and says where it is."""
    await command("warmup", cwd=tmp_path, within_s=COLD_S)
    code, out, err = await command("warmup", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert re.fullmatch(
        r"\d+ kernels are ready in \d+\.\d s, none compiled; cached under .+\n", out
    )


@pytest.mark.long
async def test_every_kernel_is_compiled(tmp_path: Path) -> None:
    """A warm-up reaches every kernel, and a second process compiles none of them."""
    for cold_start in (True, False):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", REACHED),
            env={**clean_environment(), **cold(tmp_path)},
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE * COLD_S):
            out, _ = await process.communicate()
        compiled, *left = out.decode().split()
        assert (int(compiled) > 0) == cold_start
        # What comes from the cache brings along the kernels that it calls.
        assert not cold_start or set(left) <= OF_TRAINING


@pytest.mark.long
async def test_a_cold_start_fills_the_cache(tmp_path: Path) -> None:
    """A daemon without a cache compiles before it is ready; the next start compiles nothing."""
    for compiles in (True, False):
        async with running("--source", "none", env=cold(tmp_path), cwd=tmp_path) as daemon:
            assert await daemon.status("/health/ready") == 200
            assert await daemon.stop() == 0
        assert ('"compiling_once"' in daemon.log) == compiles
        assert ('"compiled"' in daemon.log) == compiles


@pytest.fixture
async def compiling(tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    """A daemon that has begun to compile its kernels."""
    port = free_port()
    process = await launch("run", "--port", str(port), env=cold(tmp_path), cwd=tmp_path)
    async with aiohttp.ClientSession() as session:
        daemon = RunningDaemon(process, session)
        daemon.url = f"http://127.0.0.1:{port}"
        daemon._reader = asyncio.create_task(daemon._keep_log())

        async def begun() -> bool:
            return "compiling_once" in daemon.log

        try:
            await eventually(begun, 20, "the first compilation")
            yield daemon
        finally:
            await daemon.stop(signal.SIGKILL)


async def test_not_ready_while_it_compiles(compiling: RunningDaemon) -> None:
    """Meanwhile the daemon is alive and not ready, and forecasts nothing; SIGTERM ends it."""

    async def bound() -> bool:
        try:
            return await compiling.status("/health/live") == 200
        except aiohttp.ClientError:
            return False

    # The model is loaded first, whose check has kernels too.
    await eventually(bound, PATIENCE * COLD_S, "the server")
    assert await compiling.status("/health/live") == 200
    assert [await compiling.status(f"/health{part}") for part in ("", "/ready", "/startup")] == (
        [503, 503, 503]
    )
    assert (await compiling.get("/health"))["checks"]["kernels"]["status"] == "fail"
    status, problem = await compiling.predict(rows=[WINDOW])
    assert (status, problem["type"]) == (503, "/problems/not-ready")
    assert await compiling.stop() == 0
    assert '"stopped"' in compiling.log


async def test_stopped_while_it_compiles(compiling: RunningDaemon) -> None:
    """SIGTERM ends the compilation after the present kernel, in order."""
    assert await compiling.stop() == 0
    assert '"stopped"' in compiling.log


async def test_nothing_is_compiled_while_it_serves(recording: Path, tmp_path: Path) -> None:
    """A daemon that is ready compiles nothing, whatever it is asked and fed."""
    arguments = ("--path", str(recording), "--speed", "max")
    async with running(*arguments, cwd=tmp_path) as daemon:

        async def fed() -> bool:
            return await daemon.status("/latest/BTC-USD?horizon=60") == 200

        await eventually(fed, 20, "forecasts")
        for rows in ([WINDOW], [LIVE], [WINDOW, LIVE] * 20, [LIVE] * 600):
            for horizon_s in (10, 60, 3600):
                status, answer = await daemon.predict(rows=rows, horizon_s=horizon_s)
                assert status == 200, answer
        features = (await daemon.get("/latest/BTC-USD"))["features"]
        status, answer = await daemon.predict(rows=[{**LIVE, "features": features}] * 3)
        assert status == 200, answer
        for path in ("/latest", "/history/BTC-USD", "/quality", "/drift", "/models", "/metrics"):
            await daemon.text(path)
        assert await daemon.stop() == 0
    assert "compiled_late" not in daemon.log
