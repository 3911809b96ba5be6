"""The history follower: keeps in the store what all instances publish of the past.

It reads all of `ticks.minutes`, so that every instance that answers requests has the minutes of
every symbol, whichever instance closed them, and also those from before its own start. The store
has the position with the rows; so a minute is read again or not at all, and never missed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final

from volsvc.domain import InvalidTickError
from volsvc.store import Store
from volsvc.store.minutes_record import decode_minutes
from volsvc.telemetry.logs import get_logger
from volsvc.transport import Beginning, Bus, Record
from volsvc.transport.memory import KeptPosition

# Records of a partition, mostly of one minute, to which the past is bounded that an instance
# catches up on. Of a thousand symbols in six partitions it is six days.
MOST_RECORDS: Final = 1_500_000
# Records read in a row: some milliseconds of work, after which requests are served.
YIELD_EVERY: Final = 64

log = get_logger(__name__)


class HistoryFollower:
    """Follows the topic of minutes, and puts them into a store."""

    def __init__(self, bus: Bus, topic: str, store: Store) -> None:
        self._bus = bus
        self._topic = topic
        self._store = store
        self._positions = dict(store.positions)
        self._read = self._rows = 0

    async def run(self, worked: Callable[[], None] = lambda: None) -> None:
        """Follow the topic until the bus closes; `worked` is called after each batch."""
        started, caught_up = time.monotonic(), False
        self._read = self._rows = 0
        positions = {number: at.next for number, at in self._positions.items()}
        beginning = Beginning(positions, MOST_RECORDS)
        batches = self._bus.follow(self._topic, "history", beginning)
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                began = time.monotonic()
                await self._keep(batch)
                if not batch and not caught_up:
                    caught_up = True
                    seconds = round(time.monotonic() - started, 1)
                    done = {"records": self._read, "minutes": self._rows, "seconds": seconds}
                    log.info("history_caught_up", topic=self._topic, **done)
                elif not caught_up:
                    # Ticks and requests have half of the time: the past can wait.
                    await asyncio.sleep(time.monotonic() - began)
                worked()

    async def _keep(self, batch: Sequence[Record]) -> None:
        """Put the minutes of a batch into the store, with the positions after them."""
        for start in range(0, len(batch), YIELD_EVERY):
            part = batch[start : start + YIELD_EVERY]
            minutes = decode_minutes(part, _warn)
            if len(minutes.rows):
                self._store.keep_minutes(minutes)
            read = {record.partition: KeptPosition(record.offset + 1, ()) for record in part}
            self._store.commit(read)
            self._positions |= read
            self._read, self._rows = self._read + len(part), self._rows + len(minutes.rows)
            # While the disk refuses, the log keeps what follows.
            await self._store.room()
            await asyncio.sleep(0)


def _warn(record: Record, error: InvalidTickError) -> None:
    log.warning("minutes_not_read", **record.place, error=str(error))
