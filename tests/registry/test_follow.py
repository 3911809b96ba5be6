"""A running daemon follows aliases of real MLflow stores, with good and bad candidates."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.daemon import RunningDaemon, command, eventually, running
from tests.registry.store import (
    Malice,
    digest_of,
    free_port,
    mlflow_server,
    move_alias,
    new_store,
    register,
    write_candidate,
    write_pickle,
)
from volsvc.models import FEATURES, Baseline, Model, read_artefact

pytestmark = pytest.mark.filterwarnings("ignore")

ROW = {"ret_mean": 1e-6, "ret_std": 3e-5, "n": 49, "span_s": 10.0}
MATRIX = np.full((1, len(FEATURES)), np.nan)
MATRIX[0, :4] = list(ROW.values())


def env(uri: str, **more: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": uri,
        "VOLSVC_MODEL__POLL_S": "0.2",
        "VOLSVC_SOURCE__KIND": "none",
        **more,
    }


def score(model: Model) -> float:
    return float(model.predict(MATRIX, 60.0).p_spike[0])


async def served(daemon: RunningDaemon) -> tuple[str, str, float]:
    status, answer = await daemon.predict(rows=[ROW])
    assert status == 200
    return answer["model_variant"], answer["version"], answer["scores"][0]


async def until_serves(daemon: RunningDaemon, variant: str, version: str) -> float:
    async def serves() -> bool:
        return (await served(daemon))[:2] == (variant, version)

    await eventually(serves, 20, f"{variant}-{version} serves")
    return (await served(daemon))[2]


async def until_refused(daemon: RunningDaemon, reason: str) -> None:
    """Wait until /health has the reason of a refusal; a fallback is active."""

    async def refused() -> bool:
        return reason in (await daemon.get("/health"))["checks"]["model"]["detail"]

    await eventually(refused, 30, f"refused: {reason}")
    assert await daemon.metric("volsvc_fallback_active") == 1


@pytest.fixture(params=["sqlite", pytest.param("server", marks=pytest.mark.long)])
async def uri(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Yield the address of an empty real store."""
    if request.param == "sqlite":
        yield new_store(tmp_path)
        return
    port = free_port()
    async with mlflow_server(tmp_path, port):
        yield f"http://127.0.0.1:{port}"


async def test_aliases_move_and_bad_candidates_are_refused(uri: str, tmp_path: Path) -> None:
    """The alias selects versions and the baseline; a bad candidate changes nothing."""
    paths = {kind: write_candidate(tmp_path, kind, 1.5) for kind in ("good", "corrupt", "nan")}
    paths["schema"] = write_candidate(tmp_path, "schema")
    first = write_candidate(tmp_path, "good", 0.5)
    trace = tmp_path / "executed"
    paths["pickle"] = write_pickle(tmp_path / "model.pkl", Malice(trace))
    await asyncio.to_thread(register, uri, None, Baseline().digest)
    await asyncio.to_thread(register, uri, first, digest_of(first))
    number = {
        kind: await asyncio.to_thread(register, uri, path, digest_of(path))
        for kind, path in paths.items()
    }
    move_alias(uri, "2")
    expected = ("ml", "2", score(read_artefact(first).model))
    async with running(env=env(uri), cwd=tmp_path) as daemon:

        async def serves() -> bool:
            return await served(daemon) == expected

        # The packaged model, which serves first, has the same name.
        await eventually(serves, 20, "the first candidate serves")
        move_alias(uri, number["good"])
        good = await until_serves(daemon, "ml", number["good"])
        assert good == score(read_artefact(paths["good"]).model)
        move_alias(uri, "1")
        assert await until_serves(daemon, "baseline", "2") == score(Baseline())
        assert await daemon.metric("volsvc_fallback_active") == 0
        move_alias(uri, number["good"])
        await until_serves(daemon, "ml", number["good"])

        bad = {
            "corrupt": "is not a model artefact",
            "nan": "not finite",
            "schema": "features have the shape",
        }
        for kind, reason in (*bad.items(), ("pickle", "model.allowed_pickles does not name")):
            move_alias(uri, number[kind])
            await until_refused(daemon, reason)
            assert await served(daemon) == ("ml", number["good"], good)
        assert not trace.exists()
        refused = 'volsvc_model_swaps_total{result="refused",trigger="alias"}'
        assert await daemon.metric(refused) == 4

        # A wrong digest in the registry is detected too.
        wrong = await asyncio.to_thread(register, uri, paths["good"], "0" * 64)
        status, problem = await put(daemon, {"variant": "ml", "version": wrong})
        assert status == 409
        assert "its digest" in problem["detail"]
        status, problem = await put(daemon, {"variant": "ml", "version": "99"})
        assert (status, "has no version" in problem["detail"]) == (409, True)
        assert await daemon.stop() == 0


async def put(daemon: RunningDaemon, body: dict[str, Any]) -> tuple[int, Any]:
    async with daemon._session.put(daemon.url + "/models/active", json=body) as response:
        return response.status, await response.json(content_type=None)


@pytest.mark.long
async def test_by_environment_by_route_and_by_command(tmp_path: Path) -> None:
    """Environment, route and command select variant and version; rollback undoes it."""
    uri = new_store(tmp_path)
    paths = [write_candidate(tmp_path, "good", factor) for factor in (0.5, 1.5)]
    await asyncio.to_thread(register, uri, None, Baseline().digest)
    for path in paths:
        await asyncio.to_thread(register, uri, path, digest_of(path))
    move_alias(uri, "2")
    baseline = env(uri, MODEL_VARIANT="baseline")
    async with running(env=baseline, cwd=tmp_path) as daemon:
        assert (await served(daemon))[0] == "baseline"
        url = ("--url", daemon.url)

        async def models(*arguments: str) -> str:
            code, out, err = await command("models", *arguments, env=baseline, cwd=tmp_path)
            assert code == 0, err
            return out

        async def held() -> bool:
            variants = (await daemon.get("/models"))["variants"]
            return any(v["version"] == "2" and v["state"] == "shadow" for v in variants[1:])

        await eventually(held, 20, "the alias's model stands by")
        assert (await put(daemon, {"variant": "ml"}))[0] == 200
        await until_serves(daemon, "ml", "2")
        assert "baseline-2" in await models("activate", "baseline", *url)
        await until_serves(daemon, "baseline", "2")
        assert "ml-3" in await models("activate", "ml", "--version", "latest", *url)
        three = await until_serves(daemon, "ml", "3")
        assert three == score(read_artefact(paths[1]).model)
        assert "baseline-2" in await models("rollback", *url)
        await until_serves(daemon, "baseline", "2")
        assert "ml-3" in await models("rollback", *url)
        await until_serves(daemon, "ml", "3")
        await models("promote", "3")
        listed = await models("list")
        assert "<- ml" in next(line for line in listed.splitlines() if line.startswith("   3"))
        assert "ml-3" in await models("list", *url)
        history = await models("history", *url)
        assert "rollback" in history
        answer = await daemon.get("/models/history")
        at = answer["entries"][0]["time"]
        assert (await daemon.get(f"/models/history?at={at}"))["served"]["model"] == "ml-3"
        assert (await daemon.get("/models/history?at=2020-01-01T00:00:00Z"))["served"] is None
        assert (await daemon.status("/models/history?at=yesterday")) == 422
        assert await daemon.stop() == 0
    assert "is intact" in await models("history", "--verify")
    assert "ml-3" in await models("history", "--at", at)
    await break_journal(tmp_path, baseline)
    # MODEL_VERSION overrides the alias; the broken audit log is put aside.
    async with running(env=env(uri, MODEL_VERSION="2"), cwd=tmp_path) as daemon:
        await until_serves(daemon, "ml", "2")
        assert "put aside" in (await daemon.get("/health"))["checks"]["journal"]["detail"]
        assert await daemon.stop() == 0


async def break_journal(folder: Path, settings: dict[str, str]) -> None:
    """Change one entry; the command reports it."""
    journal = folder / "var" / "journal" / "models.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"rollback", b"rollbacc", 1))
    code, _, err = await command("models", "history", "--verify", env=settings, cwd=folder)
    assert code == 1
    assert "was changed" in err


async def test_an_allowed_pickle_is_loaded(tmp_path: Path) -> None:
    """A pickle whose digest the operator has allowed may serve."""
    uri = new_store(tmp_path)
    path = write_pickle(tmp_path / "model.pkl", Baseline())
    version = await asyncio.to_thread(register, uri, path, digest_of(path))
    move_alias(uri, version)
    allowed = env(uri, VOLSVC_MODEL__ALLOWED_PICKLES=digest_of(path))
    async with running(env=allowed, cwd=tmp_path) as daemon:
        # The packaged model, which serves first, may have the same name.
        expected = ("ml", version, score(Baseline()))

        async def serves() -> bool:
            return await served(daemon) == expected

        await eventually(serves, 20, "the pickled model serves")
        assert await daemon.stop() == 0


@contextlib.asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """Run a server that accepts connections and never answers."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.long
async def test_registry_away_at_the_start(tmp_path: Path) -> None:
    """Ready within 5 s with the last good or the packaged model; /health gives the reason."""
    path = write_candidate(tmp_path, "good", 0.5)
    async with silent_server() as port:
        uri, served_from = f"http://127.0.0.1:{port}", free_port()
        began = time.monotonic()
        async with running(env=env(uri), cwd=tmp_path) as daemon:
            assert time.monotonic() - began < 5
            assert (await served(daemon))[0] == "ml"
            await until_refused(daemon, "does not answer within")
            assert (await put(daemon, {"variant": "baseline"}))[0] == 200
            await until_serves(daemon, "baseline", "2")
            assert (await put(daemon, {"variant": "ml"}))[0] == 200
            assert await daemon.stop() == 0

    # A model of the registry is active; then the registry goes away, and the daemon restarts.
    uri = f"http://127.0.0.1:{served_from}"
    async with mlflow_server(tmp_path, served_from) as server:
        await asyncio.to_thread(register, uri, None, Baseline().digest)
        await asyncio.to_thread(register, uri, path, digest_of(path))
        move_alias(uri, "2")
        async with running(env=env(uri), cwd=tmp_path) as daemon:
            last_good = await until_serves(daemon, "ml", "2")
            os.killpg(server.pid, signal.SIGKILL)

            async def noticed() -> bool:
                return await daemon.metric("volsvc_registry_breaker_open") == 1

            await eventually(noticed, 30, "the breaker is open")
            assert await served(daemon) == ("ml", "2", last_good)
            assert (await put(daemon, {"variant": "ml", "version": "1"}))[0] == 503
            assert await daemon.stop() == 0
    began = time.monotonic()
    async with running(env=env(uri), cwd=tmp_path) as daemon:
        assert time.monotonic() - began < 5
        assert await served(daemon) == ("ml", "2", last_good)
        await until_refused(daemon, "the last good model serves")
        health = await daemon.get("/health")
        assert health["status"] == "degraded"
        assert health["checks"]["model"]["detail"].startswith("ml-2 serves")
        assert await daemon.stop() == 0
