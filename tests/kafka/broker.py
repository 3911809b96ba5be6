"""A real Apache Kafka broker for tests: one node in KRaft mode, run from its jars."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

LIBS = Path(__file__).parents[2] / ".cache" / "kafka" / "libs"
START_S = 60.0
STOP_S = 20.0

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
auto.create.topics.enable=false
"""


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """A broker in a folder of its own; after a stop or a kill it starts again with its data."""

    def __init__(self, folder: Path) -> None:
        if not LIBS.is_dir():
            raise FileNotFoundError(f"{LIBS} is missing: run `make kafka`")
        self.port = free_port()
        self.log = folder / "broker.log"
        self._config = folder / "server.properties"
        self._config.write_text(
            PROPERTIES.format(port=self.port, controller=free_port(), data=folder / "data")
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._formatted = False

    @property
    def bootstrap_servers(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it takes connections."""
        if not self._formatted:
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            # Joined by "=", because an id may start with a dash.
            arguments = ("format", f"--cluster-id={cluster}", "-c", str(self._config))
            self._java("kafka.tools.StorageTool", *arguments).wait(START_S)
            self._formatted = True
        self._process = self._java("kafka.Kafka", str(self._config))
        deadline = time.monotonic() + START_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the broker did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask it to stop, as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after a pause."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _java(self, main: str, *arguments: str) -> subprocess.Popen[bytes]:
        options = ("-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["java", *options, "-cp", f"{LIBS}{os.sep}*", main, *arguments],
                stdout=log,
                stderr=log,
            )

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
