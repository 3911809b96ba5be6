"""The environment of the pages' commands: files, a service, a broker, an exchange."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.docs.shell import READY_S, ROOT, Stage, wait_ready
from tests.kafka.broker import Broker, free_port
from tests.waiting import until
from volsvc.commands.files import generate_file

LINKED = ("Makefile", "config.toml", "constraints.txt", "deploy", "docs", "pyproject.toml")
RECORDINGS = ("ticks.ndjson.gz", "recording.ndjson.gz")
LAST_MINUTE = b"2026-01-05T14:02:00.000Z"
# Days of bars, the fewest that a fit takes.
DAYS = 37
REGISTRY = {"VOLSVC_MODEL__IMPORT_PACKAGED": "true", "VOLSVC_MODEL__POLL_S": "0.5"}


def write_bars(folder: Path) -> None:
    """Write bars of one market with varying volatility."""
    rng = np.random.default_rng(4)
    minutes = DAYS * 1440
    level = np.exp(np.cumsum(rng.normal(0, 0.02, minutes)) * 0.2)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 5e-4, minutes) * level))
    first = np.concatenate(([100.0], close[:-1]))
    wide = 1 + np.abs(rng.normal(0, 2e-4, minutes))
    times = np.datetime64("2026-01-05T00:00") + np.arange(minutes)
    with (folder / "BTC-USD.csv").open("w") as file:
        file.write("ts,open,high,low,close,volume\n")
        for ts, a, b, w in zip(times, first, close, wide, strict=True):
            file.write(f"{ts}:00Z,{a},{max(a, b) * w},{min(a, b) / w},{b},1\n")


def write_files(folder: Path) -> None:
    """Write the files that the pages use without creating them."""
    for name in LINKED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("secrets", "data"))
        else:
            shutil.copy(source, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "volsvc").symlink_to(ROOT / "volsvc")
    (folder / "tests").symlink_to(ROOT / "tests")
    recording = folder / RECORDINGS[0]
    generate_file(recording, minutes=4, seed=6, symbols=("BTC-USD",), start="2026-01-05T14:00:00Z")
    shutil.copy(recording, folder / RECORDINGS[1])
    (folder / "faults.toml").write_text('[[fault]]\nkind = "stall"\nat = 100\ncount = 20\n')
    (folder / "bars").mkdir()
    write_bars(folder / "bars")


@contextmanager
def server(stage: Stage, log: Path, ready: bytes, *arguments: str) -> Iterator[None]:
    """Run a volsvc command; enter the block once its output matches `ready`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "volsvc", *arguments],
            cwd=stage.folder,
            env={**stage.environment(), **REGISTRY},
            stdout=output,
            stderr=output,
        )
    try:
        wait_ready(process, log, re.compile(ready))
        yield
    finally:
        process.terminate()
        process.wait(20)


def wait_published(stage: Stage) -> None:
    """Wait until the topic of features has the recording's last whole minute."""
    export = ("kcat", "-C", "-e", "-q", "-b", stage.broker, "-t", "ticks.features")

    def published() -> bool:
        return LAST_MINUTE in subprocess.run(export, capture_output=True, check=True).stdout

    until(published, READY_S, "the recording is published")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Run a service on a real broker that has replayed a recording, and a simulated exchange."""
    folder = tmp_path_factory.mktemp("stage")
    write_files(folder)
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    port, venue = free_port(), f"127.0.0.1:{free_port()}"
    made = Stage(folder, f"http://127.0.0.1:{port}", broker.bootstrap_servers, venue)
    simulate = ("simulate", "--port", venue.rpartition(":")[2])
    path = ("--path", RECORDINGS[1], "--speed", "max", "--transport", "kafka")
    try:
        with (
            server(made, folder / "venue.log", b"exchange at", *simulate),
            server(made, folder / "service.log", b"source_ended", "run", *path),
        ):
            wait_published(made)
            log = folder / "service.log"
            until(lambda: b"registered" in log.read_bytes(), READY_S, "the models are registered")
            yield made
    finally:
        broker.kill()
