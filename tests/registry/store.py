"""Candidates for a registry, good and bad, and real MLflow stores to hold them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pickle
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import mlflow
import numpy as np

from tests.daemon import eventually
from tests.made import made
from volsvc.models import PACKAGED, packaged, write_artefact
from volsvc.models.ml import MlParameters
from volsvc.models.trees import Forest
from volsvc.serving.mlflow_registry import Candidate, Registry

NAME = "volsvc"
FIXTURE = Path(__file__).with_name("registered_by_1_0_0")
# The packaged model of 1.0.0.
ML_1 = FIXTURE / "ml.npz"


def store_of_1_0_0(folder: Path) -> str:
    """Return the address of a store in `folder` in which 1.0.0 registered its models."""
    registry = folder / "registry"
    shutil.copytree(FIXTURE, registry)
    (registry / "ml" / "artifacts").mkdir()
    (registry / ML_1.name).rename(registry / "ml" / "artifacts" / "ml.npz")
    script = (registry / "store.sql").read_text()
    path = folder / "mlflow.db"
    with closing(sqlite3.connect(path)) as store:
        store.executescript(script.replace("file:///registry", registry.as_uri()))
    return f"sqlite:///{path}"


def scaled(parts: MlParameters, factor: float) -> MlParameters:
    """Return the packaged model with variances of posted windows multiplied by a factor."""
    windows = [window + np.array([np.log(factor), 0, 0, 0]) for window in parts.windows]
    return replace(parts, windows=tuple(windows))


def golden() -> np.ndarray[Any, np.dtype[np.float64]]:
    with np.load(PACKAGED, allow_pickle=False) as file:
        return np.asarray(file["golden"], dtype=np.float64)


def write_candidate(folder: Path, kind: str, factor: float = 1.0) -> Path:
    """Write an artefact that is good, corrupt, nan, slow, or of another schema."""
    parts, path = packaged().model.parameters, folder / f"{kind}-{factor:g}.npz"
    if kind == "slow":
        heads = [replace(head, forest=_repeated(head.forest, 45)) for head in parts.heads]
        parts = replace(parts, heads=tuple(heads))
    parts = scaled(parts, factor)
    write_artefact(path, parts, "1", golden(), {})
    if kind == "corrupt":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    if kind == "nan":
        _rewrite(path, "0.window.npy", np.full(4, np.nan))
    if kind == "schema":
        _rewrite(path, "golden.npy", golden()[:, :-1])
    return path


def _repeated(forest: Forest, times: int) -> Forest:
    """Return a forest with each tree repeated: correct, and far too slow."""
    arrays = {name: np.repeat(array, times, axis=0) for name, array in forest.arrays.items()}
    arrays["value"] = arrays["value"] / times
    return Forest(arrays, forest.offsets.tolist())


def _rewrite(path: Path, name: str, array: np.ndarray[Any, Any]) -> None:
    """Replace one array of an artefact."""
    import io
    import zipfile

    with zipfile.ZipFile(path) as file:
        entries = {entry: file.read(entry) for entry in file.namelist()}
    buffer = io.BytesIO()
    np.save(buffer, array)
    entries[name] = buffer.getvalue()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry, data in entries.items():
            file.writestr(entry, data)


class Malice:
    """An object that creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> Any:
        return (Path.touch, (self._trace,))


def write_pickle(path: Path, what: object) -> Path:
    path.write_bytes(pickle.dumps(what))
    return path


EMPTY = "import mlflow, sys; mlflow.MlflowClient(sys.argv[1]).search_registered_models()"


def new_store(folder: Path, name: str = "mlflow.db") -> str:
    """Return the address of a new sqlite store, which has its tables but no model.

    MLflow takes seconds to create the tables, so it does so once.
    """

    def make(folder: Path) -> None:
        command = (sys.executable, "-c", EMPTY, f"sqlite:///{folder / 'mlflow.db'}")
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made("mlflow", make) / "mlflow.db", folder / name)
    return f"sqlite:///{folder / name}"


def register(uri: str, path: Path | None, digest: str) -> str:
    """Register a version of `ml`, or of the baseline without a path; no alias is moved."""
    candidate = Candidate("ml" if path else "baseline", digest, path)
    return str(Registry(uri, NAME)._log(candidate).version)


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def move_alias(uri: str, version: str, alias: str = "ml") -> None:
    """Move an alias with MLflow's own client."""
    mlflow.MlflowClient(uri).set_registered_model_alias(NAME, alias, version)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@asynccontextmanager
async def mlflow_server(folder: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a real `mlflow server` over a sqlite store, which serves the artefacts too."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", new_store(folder, "server.db")),
        *("--artifacts-destination", str(folder / "served")),
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with aiohttp.ClientSession() as session:

            async def up() -> bool:
                assert process.returncode is None, "mlflow server has ended"
                try:
                    async with session.get(f"http://127.0.0.1:{port}/health") as response:
                        return response.status == 200
                except aiohttp.ClientError:
                    return False

            await eventually(up, 60, "mlflow server")
        yield process
    finally:
        # The whole group: its workers outlive a server that is killed alone.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
