"""Files that take long to make: made once, and kept in .cache until what they come from changes."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.daemon import clean_environment
from tests.needs import ROOT
from volsvc.commands.files import generate_file

CACHE = ROOT / ".cache" / "made"
START = "2026-01-05T14:00:00Z"


def made(name: str, make: Callable[[Path], None], *inputs: object) -> Path:
    """Return a folder that `make` has filled, now or in an earlier run of the same code.

    It is known by its name, by `inputs`, of which paths stand for what is in them, and by all
    modules of the package and the versions of its dependencies. Nothing may be written into it.
    """
    key = hashlib.sha256(_code().encode())
    for part in (name, *inputs):
        key.update(part.read_bytes() if isinstance(part, Path) else repr(part).encode())
    folder = CACHE / f"{name}-{key.hexdigest()[:16]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    # Workers that need the same wait for the first.
    with (CACHE / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as unfinished:
                whole = Path(unfinished) / name
                whole.mkdir()
                make(whole)
                whole.rename(folder)
    return folder


@cache
def _code() -> str:
    digest = hashlib.sha256()
    for path in (ROOT / "constraints.txt", *sorted((ROOT / "volsvc").rglob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def generated(file: str, symbols: tuple[str, ...], minutes: int, seed: int) -> Path:
    """Return a recording of generated markets."""

    def make(folder: Path) -> None:
        generate_file(folder / file, minutes=minutes, seed=seed, symbols=symbols, start=START)

    return made("recording", make, file, symbols, minutes, seed) / file


def features(recording: Path, suffix: str) -> tuple[Path, Path]:
    """Return what `volsvc features` writes for a recording: its rows, and their digests."""

    def make(folder: Path) -> None:
        # Beside its features, because the kind of a recording is in its name.
        command = (sys.executable, "-m", "volsvc", "features", str(recording))
        files = ("--out", f"features.{suffix}", "--digests", "digests.ndjson")
        env = clean_environment()
        subprocess.run((*command, *files), cwd=folder, env=env, check=True, capture_output=True)

    folder = made("features", make, recording.name, recording, suffix)
    return folder / f"features.{suffix}", folder / "digests.ndjson"
