"""The distributions, and an environment with only the wheel and its dependencies."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD_S, INSTALL_S = 120, 300


def built(folder: Path) -> tuple[Path, Path]:
    """Build the source distribution, and the wheel from it, as users would."""
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    subprocess.run(build, check=True, capture_output=True, timeout=BUILD_S)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def installed(wheel: Path, folder: Path) -> Path:
    """Return `bin` of a new environment with the wheel, in versions that were tested together."""
    venv.create(folder, with_pip=True)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    command = (*pip, "--constraint", ROOT / "constraints.txt", wheel)
    subprocess.run(command, check=True, timeout=INSTALL_S, env=bare())
    return folder / "bin"


def bare() -> dict[str, str]:
    """Return this process's environment without paths to the source tree."""
    ours = ("VOLSVC_", "KAFKA_", "MLFLOW_", "MODEL_", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
