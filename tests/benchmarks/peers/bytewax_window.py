"""Bytewax: the window of 50 as a map over a topic, from its Kafka source to its Kafka sink."""

from __future__ import annotations

import sys

from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from tests.benchmarks.jobs.clock import Stopwatch
from tests.benchmarks.peers.window import Windows


def main(servers: str, topic: str, out: str, count: int) -> None:
    """Process a topic to its end."""
    windows, watch = Windows(), Stopwatch()

    def row(message: KafkaSourceMessage[bytes, bytes]) -> KafkaSinkMessage[bytes, bytes]:
        if not watch.running:
            watch.start()
        return KafkaSinkMessage(message.key, windows.encoded(message.value))

    flow = Dataflow("window")
    source = KafkaSource([servers], [topic], tail=False, batch_size=500)
    ticks = op.input("ticks", flow, source)
    kop.output("out", op.map("window", ticks, row), brokers=[servers], topic=out)
    run_main(flow)
    watch.print_result(count)


if __name__ == "__main__":
    servers, topic, out, count = sys.argv[1:]
    main(servers, topic, out, int(count))
