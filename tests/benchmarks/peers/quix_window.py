"""Quix Streams: the window of 50 as an `apply` over a topic, its fastest form."""

from __future__ import annotations

import sys

from quixstreams import Application

from tests.benchmarks.jobs.clock import Stopwatch
from tests.benchmarks.peers.window import Windows


def main(servers: str, topic: str, out: str, count: int) -> None:
    """Process `count` ticks."""
    app = Application(
        broker_address=servers, consumer_group=out, auto_offset_reset="earliest", loglevel="ERROR"
    )
    windows, watch = Windows(), Stopwatch()

    def row(tick: dict[str, object]) -> dict[str, object]:
        if not watch.running:
            watch.start()
        return windows.row(tick)

    stream = app.dataframe(app.topic(topic, value_deserializer="json"))
    stream.apply(row).to_topic(app.topic(out, value_serializer="json"))
    app.run(count=count, timeout=60)
    watch.print_result(count)


if __name__ == "__main__":
    servers, topic, out, count = sys.argv[1:]
    main(servers, topic, out, int(count))
