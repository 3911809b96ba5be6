"""The replica task: every instance knows every symbol, whoever owns its partition.

It tails `ticks.features` whole, and puts on the board what other instances say. The board keeps
what it has while nothing comes, so `/latest` answers during a rebalance and while the broker is
away, with a rising age.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

from volsvc.board import Board
from volsvc.domain import NS, InvalidTickError
from volsvc.logs import get_logger
from volsvc.transport import Bus, Record
from volsvc.transport.stated import Stated, decode_told, stated

YIELD_EVERY = 32
"""Records decoded in a row: a millisecond of work, after which requests are served."""

log = get_logger(__name__)


class Replica:
    """Follows the features topic for a board."""

    def __init__(
        self,
        bus: Bus,
        topic: str,
        board: Board,
        witness: Callable[[Stated], None] = lambda seen: None,
    ) -> None:
        """`witness` hears of every record that another process wrote."""
        self._bus = bus
        self._topic = topic
        self._board = board
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
                    log.info("replica_caught_up", symbols=len(self._board))

    async def _adopt(self, batch: Sequence[Record]) -> None:
        """Post the newest record of each symbol; the others need not even be decoded."""
        newest: dict[str, tuple[int, Record]] = {}
        for record in batch:
            seen = stated(record)
            if seen is None or seen.writer == self._bus.identity:
                continue
            self._witness(seen)
            known = newest[seen.symbol][0] if seen.symbol in newest else 0
            if seen.offset >= max(known, self._board.offset(seen.symbol)):
                newest[seen.symbol] = seen.offset, record
        for done, (offset, record) in enumerate(newest.values(), 1):
            self._post(record, offset)
            if done % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _post(self, record: Record, offset: int) -> None:
        try:
            told = decode_told(record)
        except InvalidTickError as error:
            log.warning(
                "features_not_read",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                error=str(error),
            )
            return
        self._board.post(told.snapshot, told.processed_ns / NS, offset)
