"""Apache Kafka brokers for tests: nodes in KRaft mode, run from their jars."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.needs import KAFKA_LIBS, need

START_S = 240.0
STOP_S = 60.0

PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.replication.factor={nodes}
transaction.state.log.replication.factor={nodes}
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
controller.quorum.election.timeout.ms=300
controller.quorum.fetch.timeout.ms=600
replica.lag.time.max.ms=1500
group.min.session.timeout.ms=500
log.cleaner.backoff.ms=200
log.retention.check.interval.ms=500
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
auto.create.topics.enable=false
"""


def free_port() -> int:
    """Return a free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Quorum(NamedTuple):
    """A cluster's id, and the port of each node's controller."""

    cluster: str
    controllers: Sequence[int]

    @classmethod
    def of(cls, nodes: int) -> Quorum:
        """Return the quorum of a new cluster."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        return cls(cluster, [free_port() for _ in range(nodes)])


class Broker:
    """A broker with a folder of its own, which restarts with its data after a stop or a kill."""

    def __init__(
        self,
        folder: Path,
        advertised: int | None = None,
        quorum: Quorum | None = None,
        node: int = 1,
    ) -> None:
        """`advertised` is the port given to clients, that of a proxy for example."""
        need("a Kafka broker")
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self.node = node
        self.log = folder / "broker.log"
        self._quorum = quorum or Quorum.of(1)
        controllers = self._quorum.controllers
        self._config = folder / "server.properties"
        self._config.write_text(
            PROPERTIES.format(
                node=node,
                nodes=len(controllers),
                voters=",".join(f"{i}@127.0.0.1:{p}" for i, p in enumerate(controllers, 1)),
                port=self.port,
                advertised=advertised or self.port,
                controller=controllers[node - 1],
                data=folder / "data",
            )
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._formatted = False

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self.launch()
        self.wait_until_up()

    def launch(self) -> None:
        """Start it without waiting: a node comes up only when most of its cluster does."""
        if not self._formatted:
            # Joined by "=", because an id may start with a dash.
            cluster = f"--cluster-id={self._quorum.cluster}"
            arguments = ("format", cluster, "-c", str(self._config))
            self._java("kafka.tools.StorageTool", *arguments).wait(START_S)
            self._formatted = True
        self._process = self._java("kafka.Kafka", str(self._config))

    def wait_until_up(self) -> None:
        """Wait until it accepts connections."""
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the broker did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it with SIGTERM, as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it with SIGKILL, as a power cut would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Suspend it: connections stay open, and none is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it after a pause."""
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
                ["java", *options, "-cp", f"{KAFKA_LIBS}{os.sep}*", main, *arguments],
                stdout=log,
                stderr=log,
            )

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


class Cluster:
    """Three brokers that are also the controllers."""

    def __init__(self, folder: Path) -> None:
        quorum = Quorum.of(3)
        self.brokers = [
            Broker(folder / str(node), quorum=quorum, node=node) for node in range(1, 4)
        ]

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    def start(self) -> None:
        """Start all nodes, and wait until they accept connections."""
        for broker in self.brokers:
            broker.launch()
        for broker in self.brokers:
            broker.wait_until_up()

    def kill(self) -> None:
        """Kill the nodes that still run."""
        for broker in self.brokers:
            broker.kill()
