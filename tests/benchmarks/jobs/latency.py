"""Delay until a tick is visible, in a daemon whose ticks carry their sending time."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from tests.benchmarks.latency import paced
from volsvc.config.kafka import KafkaSettings
from volsvc.config.settings import load_settings
from volsvc.daemon.daemon import Daemon
from volsvc.domain import NS
from volsvc.pipeline.latest_store import LatestEntry
from volsvc.telemetry.logs import configure_logs
from volsvc.transport.codec import encode_tick

# A partition may be steady before another one's ticks of the past, which warm the states, are read.
OLD_S = 30.0
CAUGHT_UP_S = 0.1
WARM_UP_S = 1.0


class DelayRecorder:
    """Delays in ms from sending to the latest store, which /latest reads, once they are steady."""

    def __init__(self, wanted: int) -> None:
        self.delays_ms: list[float] = []
        self.enough = asyncio.Event()
        self._wanted = wanted
        self._from_s = 0.0

    def record(self, kind: str, symbol: str, posted: Any) -> None:
        """Record the delay of a forecast that was just stored."""
        if isinstance(posted, LatestEntry):
            now_ns = time.time_ns()
            delay_s = (now_ns - posted.snapshot.row.time_ns) / NS
            if delay_s > OLD_S:
                self._from_s = 0.0
                self.delays_ms.clear()
            if self._from_s == 0 and delay_s < CAUGHT_UP_S:
                self._from_s = now_ns / NS + WARM_UP_S
            if self._from_s and now_ns / NS > self._from_s:
                values = posted.snapshot.features.values()
                assert None not in values, "a forecast without its features takes less"
                self.delays_ms.append(1e3 * delay_s)
            if len(self.delays_ms) >= self._wanted:
                self.enough.set()


def settings_of(servers: str, name: str) -> dict[str, Any]:
    """Return the settings: in process if `servers` is empty, else on a broker."""
    common = {
        "service": {"log_level": "error", "instance_id": name},
        "source": {"kind": "none"},
        "http": {"port": 0},
        "model": {"import_packaged": False},
    }
    if not servers:
        return common
    return {
        **common,
        "bus": {"transport": "kafka"},
        "kafka": {
            "bootstrap_servers": servers,
            "topic": f"{name}.raw",
            "features_topic": f"{name}.features",
            "outcomes_topic": f"{name}.outcomes",
            "dead_letter_topic": f"{name}.dlq",
            "group_id": name,
        },
    }


async def main(servers: str, name: str, wanted: int) -> None:
    """Run until the wanted number of delays is known."""
    daemon = Daemon(load_settings(None, settings_of(servers, name)))
    recorder, notify = DelayRecorder(wanted), daemon.services.latest_store.notify

    def record_and_notify(kind: Any, symbol: str, payload: Any) -> None:
        recorder.record(kind, symbol, payload)
        notify(kind, symbol, payload)

    store = daemon.services.latest_store
    # As with a reader of the stream: a forecast is made as soon as its tick is applied.
    store.notify, store.watched = record_and_notify, lambda: True
    stop = asyncio.Event()
    task = asyncio.create_task(daemon.run(stop, lambda url: None))
    feeding = None
    if not servers:

        async def send(ticks: list[Any]) -> None:
            await daemon.bus.publish(KafkaSettings().topic, [encode_tick(tick) for tick in ticks])

        feeding = asyncio.create_task(paced(send))
    await recorder.enough.wait()
    if feeding is not None:
        feeding.cancel()
    stop.set()
    await task
    print(json.dumps({"delays_ms": recorder.delays_ms[:wanted]}))


if __name__ == "__main__":
    configure_logs("error", "json")
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
