"""The producer task: from a source to the bus, each tick once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

from volsvc.backoff import Backoff
from volsvc.domain import BusUnavailableError, SourceRow
from volsvc.sources.base import Skip, Source
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics
from volsvc.telemetry.tracing import OFF, Tracer
from volsvc.transport import Bus, OutRecord
from volsvc.transport.codec import decode_position, encode_position, encode_tick

log = get_logger(__name__)


class Producer:
    """Publishes a source's ticks to a topic.

    Each record carries its place in the source as a header. After a failure, and at the start,
    the newest record of each partition tells what has arrived; that is skipped, the rest is sent.
    """

    def __init__(self, source: Source, bus: Bus, topic: str, metrics: Metrics) -> None:
        self._source = source
        self._bus = bus
        self._topic = topic
        self._metrics = metrics
        self._tracer: Tracer = OFF

    def trace_with(self, tracer: Tracer) -> None:
        """Publish each batch in a span, which its records name."""
        self._tracer = tracer

    async def run(self, progress: Callable[[int], None] | None = None) -> None:
        """Publish until the source ends; `progress` hears how many ticks each step published."""
        await self._bus.ready()
        arrived = await self._arrived()
        batches = self._source.batches(arrived)
        published = 0
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                with self._tracer.span(f"publish {self._topic}", "producer"):
                    await self._publish(batch)
                published += len(batch)
                self._metrics.ticks_published.inc(len(batch))
                if progress is not None:
                    progress(len(batch))
        log.info("source_ended", source=self._source.identity, published=published)

    async def _publish(self, batch: Sequence[SourceRow]) -> None:
        pending = list(batch)
        backoff = Backoff(0.1, 5.0)
        while pending:
            try:
                await self._bus.publish(self._topic, [self._record(row) for row in pending])
                return
            except BusUnavailableError:
                # The bus has told its owner that it is away, once.
                self._metrics.restarts.labels("producer").inc()
                await asyncio.sleep(backoff.delay_s())
                arrived = await self._arrived()
                pending = [row for row in pending if not arrived(row)]

    def _record(self, row: SourceRow) -> OutRecord:
        position = encode_position(self._source.identity, row.position)
        record, trace = encode_tick(row.tick, position), self._tracer.headers()
        return record._replace(headers=(*record.headers, *trace)) if trace else record

    async def _arrived(self) -> Skip:
        """What the log already holds of this source.

        Within a partition records stand in the order of their positions, so the newest one tells.
        """
        newest: dict[int, int] = {}
        for record in await self._bus.tail(self._topic):
            position = decode_position(record, self._source.identity)
            if position is not None:
                newest[record.partition] = position
        if newest:
            log.info("source_resumes", source=self._source.identity, after=max(newest.values()))

        def arrived(row: SourceRow) -> bool:
            partition = self._bus.partition_for(self._topic, row.tick.symbol.encode())
            return row.position <= newest.get(partition, -1)

        return arrived
