"""Registers the packaged models in the registry, once, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from volsvc.backoff import ends_within
from volsvc.config.settings import Settings
from volsvc.domain import VolsvcError
from volsvc.domain.extras import needs_extra
from volsvc.safe_io.disk import replace_file
from volsvc.telemetry.health import Health
from volsvc.telemetry.logs import get_logger

CHECK = "registry"
# The first use of a local store creates its tables and imports some hundred megabytes.
TIMEOUT_S = 300.0
END_S = 2.0

log = get_logger(__name__)


class RegistrationError(VolsvcError):
    """The process that registers the packaged models has failed; the text is its reason."""


def tracking_uri(settings: Settings) -> str:
    """Return the configured address of MLflow's store, or that of sqlite under data_dir."""
    if settings.model.tracking_uri:
        return settings.model.tracking_uri
    return f"sqlite:///{(settings.service.data_dir / 'mlflow.db').resolve()}"


async def register_packaged(settings: Settings, digest: str, health: Health) -> None:
    """Register the packaged models unless that was done before.

    `digest` is that of the packaged artefact. A failure is reported to `health` and not raised,
    because the service does not depend on it.
    """
    if importlib.util.find_spec("mlflow") is None:
        health.report(CHECK, "ok", needs_extra("the registry", "mlflow"))
        return
    uri, name = tracking_uri(settings), settings.model.name
    done = settings.service.data_dir / "registered.json"
    entry = {"tracking_uri": uri, "name": name, "digest": digest}
    # Recorded on disk, so that a restart does not import MLflow to find that nothing is to do.
    if _read(done) == entry:
        health.report(CHECK, "ok", f"the packaged models are in {name}")
        return
    try:
        settings.service.data_dir.mkdir(parents=True, exist_ok=True)
        versions = await _register(uri, name)
        await asyncio.to_thread(replace_file, done, json.dumps(entry).encode())
    # A full disk, or a machine that can start no process, is no reason to end the service.
    except (RegistrationError, OSError) as error:
        health.report(CHECK, "degraded", str(error))
        log.warning("registry_unreachable", reason=str(error))
        return
    health.report(CHECK, "ok", f"the packaged models are in {name}")
    log.info("registered", name=name, versions=versions)


def _read(path: Path) -> object:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return None


async def _register(uri: str, name: str) -> Any:
    """Run `mlflow_registry`; return the versions that it prints, or raise RegistrationError."""
    code, text = await _run(uri, name)
    last = text.strip().splitlines()[-1] if text.strip() else ""
    if code != 0:
        raise RegistrationError(last or f"exit code {code}")
    try:
        return json.loads(last)
    except ValueError as error:
        raise RegistrationError(f"its answer is not JSON: {last[:80]}") from error


async def _run(uri: str, name: str) -> tuple[int, str]:
    """Run `mlflow_registry`; return its exit code, and its output or its error text."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "volsvc.serving.mlflow_registry",
        name,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
    except TimeoutError:
        return 1, f"no answer within {TIMEOUT_S:g} s"
    finally:
        # Also when the daemon stops meanwhile: a child would outlive it.
        for end in (process.terminate, process.kill):
            if process.returncode is None:
                end()
                await ends_within(process.wait(), END_S)
    code = process.returncode or 0
    return code, (out if code == 0 else err).decode(errors="replace")
