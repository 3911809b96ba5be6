"""Running the commands of a page as a reader would, with a service that they can reach."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.docs.recipes import BIN, MADE, Recipes
from tests.waiting import PATIENCE, until
from volsvc.config.settings import SHORT_NAMES

ROOT = Path(__file__).parents[2]
# Commands that run until they are stopped.
SERVES = re.compile(
    r"^([A-Z_]+=\S+ )*(make run|volsvc (run|simulate|record)|prometheus(-alertmanager)?)( |$)"
)
READY = re.compile(rb"is ready|Listening on|exchange at|recording")
READY_S, COMMAND_S, STOP_S = 60.0, 120.0, 20.0
# Targets of make that are quick enough to run; the recipes of others are checked.
ONCE = ("monitoring",)
# Variables that would change what commands do; `make test ARGS=…` hands some to its tests.
OUTSIDE = ("VOLSVC_", "KAFKA_", "MLFLOW_", "MODEL_", "PYTEST_", "MAKE", "MFLAGS", "GNUMAKEFLAGS")


@dataclass(frozen=True)
class Stage:
    """The folder in which the commands run, and the addresses of the servers that they use."""

    folder: Path
    service: str
    broker: str
    venue: str

    def environment(self) -> dict[str, str]:
        """Return the environment of the commands: our programs first, no settings from outside."""
        of_make = re.findall(r"\$\(([A-Z_]+)\)", (ROOT / "Makefile").read_text())
        names = os.environ.keys() - {*SHORT_NAMES, *of_make}
        clean = {name: os.environ[name] for name in names if not name.startswith(OUTSIDE)}
        return {
            **clean,
            "PATH": f"{BIN}:{clean['PATH']}",
            "VOLSVC_HTTP__PORT": self.service.rpartition(":")[2],
            "VOLSVC_MODEL__IMPORT_PACKAGED": "false",
            "KAFKA_BOOTSTRAP_SERVERS": self.broker,
            "VOLSVC_SOURCE__WS_URL": f"ws://{self.venue}",
            "VOLSVC_SOURCE__REST_URL": f"http://{self.venue}",
            "OMP_NUM_THREADS": "1",
        }

    def with_addresses(self, command: str) -> str:
        """Return a command with the addresses of this stage."""
        command = command.replace("http://127.0.0.1:8000", self.service)
        command = command.replace("127.0.0.1:9092", self.broker).replace("0.0.0.0", "127.0.0.1")
        if command.startswith("prometheus "):
            command += " --web.listen-address=127.0.0.1:0 --storage.tsdb.path=series"
        if command.startswith("prometheus-alertmanager "):
            command += " --web.listen-address=127.0.0.1:0 --cluster.listen-address="
        if command.startswith("volsvc simulate"):
            command += " --port 8765"
        command = re.sub(r"--port \d+", "--port 0", command)
        command = command.replace("curl ", "curl --fail-with-body --retry 5 --retry-all-errors ")
        return re.sub(r"(^|\s)make ", rf"\1make {' '.join(MADE)} ", command)

    def run(self, command: str) -> None:
        """Run a command, or check its recipe; raises AssertionError with its output if it fails."""
        if SERVES.match(command):
            self._serve(self.with_addresses(command))
            return
        target = re.match(r"make ([a-z-]+)", command)
        if target and target[1] not in ONCE:
            Recipes(self.folder, self.environment()).check(command)
            return
        self.call("bash", "-c", self.with_addresses(command))

    def call(self, *command: str) -> None:
        """Run a program to its end; raises AssertionError with its output if it fails."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            timeout=PATIENCE * COMMAND_S,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout.decode()}\n{done.stderr.decode()}"

    def _serve(self, command: str) -> None:
        """Start a server, wait until it reports that it is ready, and stop it as Ctrl-C would."""
        log = self.folder / f"{uuid.uuid4().hex}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.folder,
                env={**self.environment(), **apart()},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_ready(process, log, READY)
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE * STOP_S)
            code = process.poll()
            ends = (0, -signal.SIGINT) if "make " in command else (0,)
            assert code in ends, f"{code}: {command}\n{log.read_text()}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_ready(process: subprocess.Popen[bytes], log: Path, ready: re.Pattern[bytes]) -> None:
    """Wait until a server's output shows that it is ready; fails with its output, or if it ends."""

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        return ready.search(log.read_bytes()) is not None

    until(is_ready, READY_S, log.read_text)


def apart() -> Mapping[str, str]:
    """Return settings with new topics, a new group and any port, for a server of a page."""
    name = uuid.uuid4().hex[:8]
    return {
        "VOLSVC_HTTP__PORT": "0",
        "KAFKA_TOPIC": f"{name}.raw",
        "VOLSVC_KAFKA__FEATURES_TOPIC": f"{name}.features",
        "VOLSVC_KAFKA__DEAD_LETTER_TOPIC": f"{name}.dlq",
        "VOLSVC_KAFKA__OUTCOMES_TOPIC": f"{name}.outcomes",
        "VOLSVC_KAFKA__GROUP_ID": name,
        "VOLSVC_SERVICE__DATA_DIR": f"var-{name}",
    }


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a block: one a line, without comments; a backslash continues a line."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True, posix=False)
        if words:
            yield " ".join(words)
