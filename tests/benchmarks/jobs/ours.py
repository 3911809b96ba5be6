"""The daemon's consumer on a broker: ticks in, full state, features and forecasts out."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from tests.benchmarks.consuming import accepted
from tests.benchmarks.jobs.clock import Stopwatch
from tests.benchmarks.market import SYMBOLS, WARM_MINUTES
from volsvc.config.settings import load_settings
from volsvc.daemon.daemon import Daemon
from volsvc.daemon.gc_tuning import tune_gc
from volsvc.telemetry.logs import configure_logs

EVERY_S = 0.01


async def consume(servers: str, topic: str, name: str, count: int) -> None:
    """Consume `count` ticks of a full topic, then drain; timed once every symbol is warm."""
    daemon = Daemon(
        load_settings(
            None,
            {
                "service": {"roles": ["consumer"], "log_level": "error", "instance_id": name},
                "source": {"kind": "none"},
                "bus": {"transport": "kafka"},
                "kafka": {
                    "bootstrap_servers": servers,
                    "topic": topic,
                    "features_topic": f"{name}.features",
                    "outcomes_topic": f"{name}.outcomes",
                    "dead_letter_topic": f"{name}.dlq",
                    "group_id": name,
                },
                "model": {"import_packaged": False},
            },
        )
    )
    table, background = daemon.services.table, set[asyncio.Task[None]]()

    def on_ready(url: str) -> None:
        background.add(asyncio.create_task(tune_gc(lambda: len(table))))

    stop, watch = asyncio.Event(), Stopwatch()
    task = asyncio.create_task(daemon.run(stop, on_ready))
    applied = 0
    while applied < count and not task.done():
        await asyncio.sleep(EVERY_S)
        each = accepted(table)
        applied = int(each.sum())
        if len(each) == SYMBOLS and each.min() >= WARM_MINUTES and not watch.running:
            watch.start(applied)
    stop.set()
    await task
    watch.print_result(applied)


if __name__ == "__main__":
    configure_logs("error", "json")
    servers, topic, name, count = sys.argv[1:]
    uvloop.run(consume(servers, topic, name, int(count)))
