"""The replica task: every instance knows every symbol, whoever owns its partition.

It tails `ticks.features` whole, and puts on the board what other instances say. The board keeps
what it has while nothing comes, so `/latest` answers during a rebalance and while the broker is
away, with a rising age.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

from volsvc.domain import NS, InvalidTickError
from volsvc.pipeline.latest_store import LatestStore
from volsvc.telemetry.logs import get_logger
from volsvc.transport import Bus, Record
from volsvc.transport.features_record import RecordHeader, decode_snapshot, read_header

# Records decoded in a row: a millisecond of work, after which requests are served.
YIELD_EVERY = 32

log = get_logger(__name__)


class FeaturesFollower:
    """Follows the features topic for a board."""

    def __init__(
        self,
        bus: Bus,
        topic: str,
        latest_store: LatestStore | None,
        witness: Callable[[RecordHeader], None] = lambda seen: None,
    ) -> None:
        """`witness` hears of every record that another process wrote.

        Without a board nothing is decoded: an instance that serves nobody needs to witness only.
        """
        self._bus = bus
        self._topic = topic
        self._latest_store = latest_store
        self._witness = witness
        self.caught_up = asyncio.Event()

    async def run(self) -> None:
        """Follow until the bus closes."""
        batches = self._bus.follow(self._topic)
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                await self._adopt(batch)
                if not batch and not self.caught_up.is_set():
                    self.caught_up.set()
                    log.info("replica_caught_up", topic=self._topic)

    async def _adopt(self, batch: Sequence[Record]) -> None:
        """Witness what others wrote, and post the newest record of each symbol."""
        newest: dict[str, tuple[int, Record]] = {}
        for record in batch:
            seen = read_header(record)
            if seen is None or seen.writer == self._bus.identity:
                continue
            self._witness(seen)
            if seen.symbol not in newest or seen.offset >= newest[seen.symbol][0]:
                newest[seen.symbol] = seen.offset, record
        if self._latest_store is None:
            return
        for done, (symbol, (offset, record)) in enumerate(newest.items(), 1):
            if offset >= self._latest_store.offset(symbol):
                self._post(self._latest_store, record, offset)
            if done % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _post(self, latest_store: LatestStore, record: Record, offset: int) -> None:
        try:
            told = decode_snapshot(record)
        except InvalidTickError as error:
            log.warning("features_not_read", **record.place, error=str(error))
            return
        latest_store.post(told.snapshot, told.processed_ns / NS, offset)
