"""Two hundred swaps under load, with bad candidates and a registry that hangs and ends."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.daemon import RunningDaemon, running
from tests.registry.store import (
    digest_of,
    free_port,
    mlflow_server,
    move_alias,
    register,
    write_candidate,
)
from tests.registry.test_follow import ROW, env, put, score, until_serves
from volsvc.models import Baseline, read_artefact

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]

CLIENTS = 50
PAUSE_S = 0.1
SWAPS = 200
CALM_S = 6.0
# Pause between two swaps.
PACE_S = 0.15
# Allowance beside twice the calm time, for other load on the machine; a swap that holds the loop
# while it loads a model takes longer.
LATER_S = 0.25
# Number of swaps after which memory is stable: old models have been released.
SETTLED = 60


class Load:
    """Clients that compare every answer with the model that it names."""

    def __init__(self, daemon: RunningDaemon, expected: dict[tuple[str, str], float]) -> None:
        self._daemon = daemon
        self._expected = expected
        self.took: list[float] = []
        self.seen: set[tuple[str, str]] = set()
        self.wrong: list[Any] = []

    async def client(self) -> None:
        rng = random.Random()
        while True:
            await asyncio.sleep(rng.uniform(0, 2 * PAUSE_S))
            started = time.perf_counter()
            status, answer = await self._daemon.predict(rows=[ROW])
            self.took.append(time.perf_counter() - started)
            if status != 200:
                self.wrong.append((status, answer))
                continue
            name = answer["model_variant"], answer["version"]
            self.seen.add(name)
            if answer["scores"] != [self._expected[name]]:
                self.wrong.append(answer)

    async def calm(self) -> float:
        """Return the 99 % quantile while nothing is swapped."""
        # A full collection in this process must not count as latency of the service.
        gc.collect()
        gc.freeze()
        await asyncio.sleep(1)
        self.p99()
        await asyncio.sleep(CALM_S)
        return self.p99()

    def p99(self) -> float:
        """Return the 99 % quantile of latencies since the last call, in seconds."""
        took, self.took = self.took, []
        return float(np.quantile(took, 0.99))


def resident_mb(daemon: RunningDaemon) -> float:
    pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def rollback(daemon: RunningDaemon) -> int:
    async with daemon._session.post(daemon.url + "/models/rollback") as response:
        return response.status


def endless_plan(good: list[str]) -> Iterator[dict[str, str] | None]:
    """Yield requests for models without end; None is a rollback."""
    versions = [{"variant": "ml", "version": version} for version in good]
    return cycle([*versions, {"variant": "baseline"}, {"variant": "ml"}, None, None])


async def swap(daemon: RunningDaemon, desired: dict[str, str] | None) -> int:
    if desired is None:
        return await rollback(daemon)
    status, answer = await put(daemon, desired)
    assert status == 200, answer
    return status


async def test_two_hundred_swaps(tmp_path: Path) -> None:
    """No answer fails, each equals its version's, memory stays flat, latency bounded."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    good = [write_candidate(tmp_path, "good", factor) for factor in (0.5, 1.5, 2.5)]
    bad = [
        write_candidate(tmp_path, kind, 1.1 + n)
        for kind in ("corrupt", "nan", "slow")
        for n in (0, 1)
    ]
    async with mlflow_server(tmp_path, port) as server:
        numbers = await asyncio.to_thread(register_all, uri, (*good, *bad))
        expected = {("baseline", "2"): score(Baseline())}
        for version, path in zip(numbers, good, strict=False):
            expected["ml", version] = score(read_artefact(path).model)
        move_alias(uri, numbers[0])
        limits = {
            "VOLSVC_MODEL__LOAD_TIMEOUT_S": "6",
            "VOLSVC_MODEL__POLL_S": "1",
            # The slow candidates take three times as long, the good ones an eighth.
            "VOLSVC_MODEL__TIME_BUDGET_MS": "6",
        }
        async with running(env=env(uri, **limits), cwd=tmp_path) as daemon:
            await until_serves(daemon, "ml", numbers[0])
            for version in numbers[:3]:
                assert await swap(daemon, {"variant": "ml", "version": version}) == 200
            load = Load(daemon, expected)
            clients = [asyncio.create_task(load.client()) for _ in range(CLIENTS)]
            calm = await load.calm()
            before = await swap_around(daemon, numbers[:3], numbers[3:])
            os.killpg(server.pid, signal.SIGSTOP)
            away = await without_registry(daemon, numbers[0])
            os.killpg(server.pid, signal.SIGKILL)
            away += await without_registry(daemon, numbers[1])
            busy, after = load.p99(), resident_mb(daemon)
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            assert away == [503, 503]
            assert load.wrong == []
            assert load.seen == set(expected)
            swaps = await swapped(daemon)
            print(f"{swaps:g} swaps, p99 calm {calm * 1e3:.1f} ms, busy {busy * 1e3:.1f} ms, "
                  f"{before:.0f} -> {after:.0f} MB")  # fmt: skip
            assert swaps >= SWAPS
            assert after - before < 15
            assert busy <= 2 * calm + LATER_S
            assert await daemon.stop() == 0


async def swap_around(daemon: RunningDaemon, good: list[str], bad: list[str]) -> float:
    """Swap among good versions, at times to a bad one; return the memory once stable."""
    refused, before, plan = list[int](), 0.0, endless_plan(good)
    for index in range(SWAPS):
        if index == SETTLED:
            before = resident_mb(daemon)
        assert await swap(daemon, next(plan)) == 200
        await asyncio.sleep(PACE_S)
        if index % 15 == 7:
            version = bad[len(refused) % len(bad)]
            refused.append((await put(daemon, {"variant": "ml", "version": version}))[0])
    assert set(refused) == {409}
    assert len(refused) >= 2 * len(bad)
    return before


def register_all(uri: str, paths: Sequence[Path]) -> list[str]:
    """Register the baseline and these artefacts; return the versions of the artefacts."""
    register(uri, None, Baseline().digest)
    return [register(uri, path, digest_of(path)) for path in paths]


async def swapped(daemon: RunningDaemon) -> float:
    """Return the number of swaps."""
    name = 'volsvc_model_swaps_total{{result="ok",trigger="{}"}}'
    return sum([await daemon.metric(name.format(by)) for by in ("route", "rollback")])


async def without_registry(daemon: RunningDaemon, version: str) -> list[int]:
    """Swap without the registry; return the status of a swap that needs it."""
    for _ in range(5):
        assert await swap(daemon, {"variant": "baseline"}) == 200
        assert await swap(daemon, {"variant": "ml"}) == 200
    return [(await put(daemon, {"variant": "ml", "version": version}))[0]]
