"""The features follower: keeps the latest store up to date with what other instances publish.

It reads all of `ticks.features`, so that every instance answers for every symbol, whichever
instance owns its partition. The store keeps its entries while nothing comes, so `/latest` answers
during a rebalance and while the broker is away, with a rising age.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

from volsvc.config.kafka import KafkaSettings
from volsvc.domain import NS, InvalidTickError
from volsvc.pipeline.latest_store import LatestStore
from volsvc.telemetry.logs import get_logger
from volsvc.transport import Bus, Record
from volsvc.transport.features_record import RecordHeader, decode_snapshot, read_header

# Records decoded in a row: a millisecond of work, after which requests are served.
YIELD_EVERY = 32

log = get_logger(__name__)


class FeaturesFollower:
    """Follows the features topic and updates a latest store from it."""

    def __init__(
        self,
        bus: Bus,
        topics: KafkaSettings,
        latest_store: LatestStore | None,
        on_remote_write: Callable[[RecordHeader], None] = lambda header: None,
    ) -> None:
        """`on_remote_write` is called with the header of every record of another process.

        Without a latest store no record is decoded: an instance that serves no requests follows
        the topic for `on_remote_write` only.
        """
        self._bus = bus
        self._topics = topics
        self._latest_store = latest_store
        self._on_remote_write = on_remote_write
        self.caught_up = asyncio.Event()

    async def run(self, worked: Callable[[], None] = lambda: None) -> None:
        """Follow the topic until the bus closes; `worked` is called after each batch."""
        batches = self._bus.follow(self._topics.features_topic, "replica")
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                await self._apply(batch)
                if not batch and not self.caught_up.is_set():
                    self.caught_up.set()
                    log.info("replica_caught_up", topic=self._topics.features_topic)
                worked()

    async def _apply(self, batch: Sequence[Record]) -> None:
        """Report other processes' records on our ticks, and store the newest of each symbol."""
        ticks = self._bus.log_name(self._topics.topic)
        newest: dict[str, tuple[int, Record]] = {}
        for record in batch:
            header = read_header(record)
            if header is None or header.writer == self._bus.identity or not header.counts_in(ticks):
                continue
            self._on_remote_write(header)
            if header.symbol not in newest or header.offset >= newest[header.symbol][0]:
                newest[header.symbol] = header.offset, record
        if self._latest_store is None:
            return
        for done, (symbol, (offset, record)) in enumerate(newest.items(), 1):
            # Asked before decoding, which costs far more than the look into the store.
            if offset >= self._latest_store.offset(symbol):
                self._put(self._latest_store, record, offset)
            if done % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _put(self, latest_store: LatestStore, record: Record, offset: int) -> None:
        try:
            remote = decode_snapshot(record)
        except InvalidTickError as error:
            log.warning("features_not_read", **record.place, error=str(error))
            return
        latest_store.put(remote.snapshot, remote.processed_ns / NS, offset)
