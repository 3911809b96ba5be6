"""The producer task: publishes a source's ticks on the bus, none of them twice but after a kill."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing

from volsvc.backoff import Backoff
from volsvc.domain import BusUnavailableError, SourceRow
from volsvc.failpoints import failpoint
from volsvc.sources.base import Skip, Source
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics
from volsvc.telemetry.tracing import OFF, Tracer
from volsvc.transport import Bus, OutRecord
from volsvc.transport.bars_record import encode_bars
from volsvc.transport.codec import (
    POSITION_HEADER,
    decode_position,
    encode_position,
    encode_tick,
)

log = get_logger(__name__)


class Producer:
    """Publishes a source's ticks to a topic, each at least once.

    Each record carries its position in the source as a header. At the start and after a failure,
    the newest record of each partition shows what has arrived; that is skipped, the rest is sent.
    So a tick comes twice only if this process was killed with a request on its way, and the broker
    appended it after the next one had looked. The consumer finds such ticks as duplicates.
    """

    def __init__(
        self, source: Source, bus: Bus, topic: str, metrics: Metrics, tracer: Tracer = OFF
    ) -> None:
        """Each batch is published in a span of `tracer`, which its records name."""
        self._source = source
        self._bus = bus
        self._topic = topic
        self._metrics = metrics
        self._tracer = tracer

    @property
    def prompt(self) -> int:
        """The number of symbols, at least, whose first ticks come at once."""
        return self._source.prompt

    async def run(self, worked: Callable[[int], None] = lambda ticks: None) -> None:
        """Publish until the source ends.

        `worked` is called with the size of each batch, and before with 0 when the log has answered.
        """
        await self._bus.ready()
        published = await self._published()
        worked(0)
        batches = self._source.batches(published)
        count = 0
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                with self._tracer.span(f"publish {self._topic}", "producer"):
                    await self._publish(batch)
                failpoint("ticks_published")
                count += len(batch)
                self._metrics.ticks.published.inc(len(batch))
                worked(len(batch))
        hint = {} if count else {"hint": "was read before; begin anew with --fresh"}
        log.info("source_ended", source=self._source.identity, published=count, **hint)

    async def _publish(self, batch: Sequence[SourceRow]) -> None:
        pending = list(batch)
        backoff = Backoff(0.1, 5.0)
        while pending:
            try:
                records = [record for row in pending for record in self._records(row)]
                await self._bus.publish(self._topic, records)
                return
            except BusUnavailableError:
                # No log line: the bus has reported once to its listener that it is away.
                self._metrics.process.restarts.labels("producer").inc()
                await asyncio.sleep(backoff.delay_s())
                # Some of the batch may have arrived although its acknowledgement did not.
                published = await self._published()
                pending = [row for row in pending if not published(row)]

    def _records(self, row: SourceRow) -> Iterator[OutRecord]:
        """Yield the record of a tick, after those of the bars before it."""
        identity, trace = self._source.identity, self._tracer.headers()
        if row.past is not None:
            # All before the tick has arrived, and the tick has not.
            before = (POSITION_HEADER, encode_position(identity, row.position - 1))
            yield from encode_bars(row.past, (before, *trace))
        record = encode_tick(row.tick, encode_position(identity, row.position))
        yield record._replace(headers=(*record.headers, *trace)) if trace else record

    async def _published(self) -> Skip:
        """Return a test of which rows of this source the log already holds."""
        # Positions rise within a partition, so the newest record stands for all before it.
        newest: dict[int, int] = {}
        for record in await self._bus.tail(self._topic):
            position = decode_position(record, self._source.identity)
            if position is not None:
                newest[record.partition] = position
        if newest:
            log.info("source_resumes", source=self._source.identity, after=max(newest.values()))

        def published(row: SourceRow) -> bool:
            partition = self._bus.partition_for(self._topic, row.tick.symbol.encode())
            return row.position <= newest.get(partition, -1)

        return published
