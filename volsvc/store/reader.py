"""Answers from a store, while its owner goes on writing."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

from volsvc.domain import format_time
from volsvc.features import MINUTE_NS
from volsvc.store.database import StoreError, open_for_reading
from volsvc.store.event_table import EventQuery, KeptEvent, read_events
from volsvc.store.minute_table import BLOCK_MINUTES, Minutes, read_minutes, read_span, read_symbols

T = TypeVar("T")

# Questions that are answered at once; others wait.
THREADS: Final = 2
# An answer takes milliseconds; a disk that takes longer than this is away.
WITHIN_S: Final = 10.0


def damage_of(symbol: str, minute: int) -> str:
    """Return what is missing where a block of a symbol that begins at a minute is damaged."""
    since = format_time(minute * MINUTE_NS)
    return f"{BLOCK_MINUTES} minutes of {symbol} from {since} are damaged and left out"


class StoreReader:
    """Reads the minutes and events of one feed, each time with a connection of its own, in threads.

    What was committed within the last second may still be on its way to the file. Every question
    raises StoreError if the file cannot be read.
    """

    def __init__(
        self, path: Path, feed: int, found_damage: Callable[[str], None] = lambda text: None
    ) -> None:
        """`found_damage` is called with what is damaged whenever a question comes upon it."""
        self._found_damage = found_damage
        self._path = path
        self._feed = feed
        self._threads = ThreadPoolExecutor(THREADS, "store reader")
        self._closed = False

    async def minutes(self, symbol: str, first: int, last: int) -> Minutes:
        """Return the rows of a symbol from minute `first` to `last`, counted from the epoch."""
        found = await self._ask(lambda file: read_minutes(file, self._feed, symbol, first, last))
        for minute in found.damaged:
            self._found_damage(damage_of(symbol, minute))
        return found

    async def span(self, symbol: str, first: int = 0) -> tuple[int, int] | None:
        """Return the minutes of the first and the newest row of a symbol from `first` on.

        The first may be some hours too early. None if there is no such row.
        """
        return await self._ask(lambda file: read_span(file, self._feed, symbol, first))

    async def events(self, query: EventQuery) -> tuple[list[KeptEvent], int | None]:
        """Return events, oldest first, and the time after which the next page begins."""
        return await self._ask(lambda file: read_events(file, self._feed, query))

    async def symbols(self) -> list[str]:
        """Return the symbols with rows, by name."""
        return await self._ask(lambda file: read_symbols(file, self._feed))

    async def _ask(self, read: Callable[[sqlite3.Connection], T]) -> T:
        def answer() -> T:
            with closing(open_for_reading(self._path)) as connection:
                return read(connection)

        # While a daemon drains, requests may outlive its store.
        if self._closed:
            raise StoreError(f"{self._path}: the daemon is stopping")
        try:
            async with asyncio.timeout(WITHIN_S):
                return await asyncio.get_running_loop().run_in_executor(self._threads, answer)
        except TimeoutError:
            raise StoreError(f"{self._path}: no answer within {WITHIN_S:g} s") from None
        except (sqlite3.Error, ValueError) as error:
            if not isinstance(error, sqlite3.OperationalError):
                self._found_damage(f"cannot be read: {error}")
            raise StoreError(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Take no more questions, and end the threads once those of now are answered."""
        self._closed = True
        self._threads.shutdown(wait=False)
