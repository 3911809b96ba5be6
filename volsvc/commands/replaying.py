"""`volsvc replay`: a recording is published."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from volsvc.commands.progress import progress_bar
from volsvc.commands.reading import SummaryForm, print_summary
from volsvc.config.settings import Settings
from volsvc.daemon.listeners import PartsListener
from volsvc.pipeline.producer import Producer
from volsvc.sources.factory import file_source
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics
from volsvc.transport.factory import build_bus


async def replay_files(
    settings: Settings, files: Sequence[Path], stop: asyncio.Event, summary: SummaryForm
) -> None:
    """Publish a recording to the configured topic until it ends or `stop` is set."""
    metrics = Metrics()
    listener = PartsListener(metrics, Health())
    source = file_source(settings, files, listener)
    bus = build_bus(settings, listener, settings.service.instance_id)
    try:
        with progress_bar(f"replaying {source.label}", lambda: source.fraction) as advance:
            producer = Producer(source, bus, settings.kafka.topic, metrics)
            work = asyncio.ensure_future(producer.run(advance))
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if work.done():
                # Raises the producer's error, if it has failed.
                work.result()
            work.cancel()
    finally:
        await bus.stop()
    print_summary(source.tables, source.counts, summary)
