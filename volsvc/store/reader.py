"""Answers from a store, while its owner goes on writing."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

from volsvc.store.database import BUSY_S, StoreError
from volsvc.store.minute_table import Minutes, read_minutes

# Questions that are answered at once; others wait.
THREADS: Final = 2
# An answer takes milliseconds; a disk that takes longer than this is away.
WITHIN_S: Final = 10.0


class StoreReader:
    """Reads the minutes of one feed, each time with a connection of its own, in threads.

    What was committed within the last second may still be on its way to the file.
    """

    def __init__(self, path: Path, feed: int) -> None:
        self._path = path
        self._feed = feed
        self._threads = ThreadPoolExecutor(THREADS, "store reader")

    async def minutes(self, symbol: str, first: int, last: int) -> Minutes:
        """Return the rows of a symbol from minute `first` to `last`, counted from the epoch.

        Raises StoreError if they cannot be read.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WITHIN_S):
                return await loop.run_in_executor(self._threads, self._read, symbol, first, last)
        except TimeoutError:
            raise StoreError(f"{self._path}: no answer within {WITHIN_S:g} s") from None
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(f"{self._path}: {error}") from error

    def _read(self, symbol: str, first: int, last: int) -> Minutes:
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, timeout=BUSY_S, uri=True)) as connection:
            return read_minutes(connection, self._feed, symbol, first, last)

    def close(self) -> None:
        """End the threads; nothing may be asked any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
