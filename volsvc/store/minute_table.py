"""The rows of minutes in a database: the newest one by one, those of past half days in blocks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.store.minute_rows import MINUTE_ROW, pack, round_numbers, unpack

# Minutes of a block: its rows take 40 kB, and an answer of a day reads three of them.
BLOCK_MINUTES: Final = 720
# More than the number of any block.
BLOCKS: Final = 2**32
# Blocks that one transaction makes or deletes, some milliseconds each.
BLOCKS_AT_ONCE: Final = 8
# Rows of a block that are worth to be one at once, as those of a symbol's past are.
MANY: Final = 120

ModelName = tuple[str, str]
_NO_ROWS: Final = np.zeros(0, MINUTE_ROW)


class Minutes(NamedTuple):
    """Rows (MINUTE_ROW) with their symbols, in which models are the places in `models`.

    A model has a variant and a version. `damaged` are the minutes at which the blocks begin that
    cannot be read, whose rows are missing.
    """

    symbols: Sequence[str]
    rows: NDArray[Any]
    models: Sequence[ModelName]
    damaged: Sequence[int] = ()


class MinuteTable:
    """The minutes of a feed; every call is one of the thread that uses the connection."""

    def __init__(self, connection: sqlite3.Connection, feed: int) -> None:
        """Find the symbols and models that are known, and the rows that wait to be a block."""
        self._connection = connection
        self._feed = feed
        query = "SELECT name, id FROM symbol WHERE feed = ?"
        self._symbols: dict[str, int] = dict(connection.execute(query, (feed,)))
        models = connection.execute("SELECT variant, version, id FROM model")
        self._models: dict[ModelName, int] = {(v, version): number for v, version, number in models}
        blocks = connection.execute(
            "SELECT symbol, min(minute) / ?1, max(minute) / ?1 FROM minute "
            "JOIN symbol ON symbol.id = symbol WHERE feed = ?2 GROUP BY symbol",
            (BLOCK_MINUTES, feed),
        ).fetchall()
        # By symbol: the block to which its oldest row will belong. It is complete once another one
        # has begun.
        self._oldest: dict[int, int] = {symbol: oldest for symbol, oldest, _ in blocks}
        self._complete = {symbol for symbol, oldest, newest in blocks if newest > oldest}
        # The newest minute that was written; 0 before the first.
        self.newest = 0

    def write(self, *parts: Minutes) -> None:
        """Write rows, in the place of those of the same symbol and minute."""
        numbered = [self._numbered(part) for part in parts if len(part.rows)]
        if not numbered:
            return
        symbols, rows = (np.concatenate(found) for found in zip(*numbered, strict=True))
        round_numbers(rows)
        self.newest = max(self.newest, int(rows["minute"].max()))
        rest = ~self._write_blocks(symbols, rows)
        found = []
        for symbol, row in zip(symbols[rest].tolist(), rows[rest], strict=True):
            minute = int(row["minute"])
            found.append((symbol, minute, row.tobytes()))
            block = minute // BLOCK_MINUTES
            oldest = self._oldest.setdefault(symbol, block)
            if block > oldest:
                self._complete.add(symbol)
            elif block < oldest:
                self._oldest[symbol] = block
        self._connection.executemany("INSERT OR REPLACE INTO minute VALUES (?, ?, ?)", found)

    def _numbered(self, minutes: Minutes) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return the numbers of the symbols of rows, and the rows with the numbers of models."""
        rows = minutes.rows.copy()
        numbers = np.array([self._model(model) for model in minutes.models], np.uint16)
        for name in ("model", "shadow"):
            rows[name] = numbers[rows[name]]
        return np.array([self._symbol(name) for name in minutes.symbols], np.int64), rows

    def _write_blocks(self, symbols: NDArray[np.int64], rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Write the blocks of which there are many rows and that are over; return the rows' mask.

        The newest block of a symbol is never among them: its newest row is in no block.
        """
        written = np.zeros(len(rows), dtype=bool)
        if len(rows) < MANY:
            return written
        keys = symbols * BLOCKS + rows["minute"] // BLOCK_MINUTES
        known, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
        # They rise, so the newest of a symbol is the one before another symbol's.
        over = np.append(known[1:] // BLOCKS == known[:-1] // BLOCKS, False)
        for place in np.flatnonzero(over & (counts >= MANY)).tolist():
            of_block = places == place
            self._pack(*divmod(int(known[place]), BLOCKS), rows[of_block])
            written |= of_block
        return written

    def _symbol(self, name: str) -> int:
        if name not in self._symbols:
            insert = "INSERT INTO symbol (feed, name) VALUES (?, ?) RETURNING id"
            self._symbols[name] = self._connection.execute(insert, (self._feed, name)).fetchone()[0]
        return self._symbols[name]

    def _model(self, model: ModelName) -> int:
        if model not in self._models:
            insert = "INSERT INTO model (variant, version) VALUES (?, ?) RETURNING id"
            self._models[model] = self._connection.execute(insert, model).fetchone()[0]
        return self._models[model]

    def pack_some(self) -> bool:
        """Make blocks of some symbols' oldest rows; return True if others wait."""
        for symbol in list(self._complete)[:BLOCKS_AT_ONCE]:
            self._pack(symbol, self._oldest[symbol])
            query = "SELECT min(minute), max(minute) FROM minute WHERE symbol = ?"
            first, last = self._connection.execute(query, (symbol,)).fetchone()
            self._oldest[symbol] = first // BLOCK_MINUTES
            if last // BLOCK_MINUTES == self._oldest[symbol]:
                self._complete.discard(symbol)
        return bool(self._complete)

    def _pack(self, symbol: int, block: int, newest: NDArray[Any] = _NO_ROWS) -> None:
        """Make a block of the rows that are kept of it, and of newer ones."""
        first, last = block * BLOCK_MINUTES, (block + 1) * BLOCK_MINUTES - 1
        # What cannot be read of an earlier block of this time is replaced by what there is.
        rows = _merged(chain(read_rows(self._connection, symbol, first, last, []), [newest]))
        self._connection.execute(
            "INSERT OR REPLACE INTO block VALUES (?, ?, ?)", (symbol, block, pack(rows))
        )
        self._connection.execute(
            "DELETE FROM minute WHERE symbol = ? AND minute BETWEEN ? AND ?", (symbol, first, last)
        )


def read_minutes(
    connection: sqlite3.Connection, feed: int, symbol: str, first: int, last: int
) -> Minutes:
    """Return the rows of a symbol from minute `first` to `last`, which are counted from the epoch.

    Empty for a symbol that is not known.
    """
    rows, damaged = _NO_ROWS, list[int]()
    with _snapshot(connection):
        number = _symbol_number(connection, feed, symbol)
        if number is not None:
            rows = _merged(read_rows(connection, number, first, last, damaged))
        models = connection.execute("SELECT id, variant, version FROM model").fetchall()
    used = np.unique(np.append(rows["model"], rows["shadow"])).tolist()
    known = {number: (variant, version) for number, variant, version in models}
    for name in ("model", "shadow"):
        rows[name] = np.searchsorted(used, rows[name])
    return Minutes([symbol] * len(rows), rows, [known[number] for number in used], damaged)


def read_span(
    connection: sqlite3.Connection, feed: int, symbol: str, first: int
) -> tuple[int, int] | None:
    """Return the minutes of the first and the newest row of a symbol from minute `first` on.

    The first may be some hours too early. None if there is no such row.
    """
    number = _symbol_number(connection, feed, symbol)
    query = "SELECT min(minute), max(minute) FROM minute WHERE symbol = ? AND minute >= ?"
    oldest, newest = connection.execute(query, (number, first)).fetchone()
    # The newest row is in no block.
    if newest is None:
        return None
    query = "SELECT min(number) FROM block WHERE symbol = ? AND number >= ?"
    (block,) = connection.execute(query, (number, first // BLOCK_MINUTES)).fetchone()
    return min(oldest, oldest if block is None else max(block * BLOCK_MINUTES, first)), newest


def read_feeds(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the numbers of the feeds by name."""
    return dict(connection.execute("SELECT name, id FROM feed ORDER BY name"))


def read_symbols(connection: sqlite3.Connection, feed: int) -> list[str]:
    """Return the symbols of a feed by name."""
    query = "SELECT name FROM symbol WHERE feed = ? ORDER BY name"
    return [name for (name,) in connection.execute(query, (feed,))]


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Have all queries of a block see the same: between two of them rows may become a block."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _symbol_number(connection: sqlite3.Connection, feed: int, symbol: str) -> int | None:
    query = "SELECT id FROM symbol WHERE feed = ? AND name = ?"
    found = connection.execute(query, (feed, symbol)).fetchone()
    return None if found is None else int(found[0])


def read_rows(
    connection: sqlite3.Connection, symbol: int, first: int, last: int, damaged: list[int]
) -> Iterator[NDArray[Any]]:
    """Yield the rows of a symbol in a range: those of blocks, then those that are in none yet.

    Adds to `damaged` the first minutes of blocks that cannot be read.
    """
    blocks = connection.execute(
        "SELECT number, content FROM block WHERE symbol = ? AND number BETWEEN ? AND ? "
        "ORDER BY number",
        (symbol, first // BLOCK_MINUTES, last // BLOCK_MINUTES),
    )
    for number, content in blocks:
        try:
            rows = unpack(content)
        except ValueError:
            damaged.append(number * BLOCK_MINUTES)
            continue
        yield rows[(rows["minute"] >= first) & (rows["minute"] <= last)]
    # In one step: each takes the interpreter anew, which the event loop may hold.
    (single,) = connection.execute(
        "SELECT group_concat(hex(row), '') FROM minute WHERE symbol = ? AND minute BETWEEN ? AND ?",
        (symbol, first, last),
    ).fetchone()
    yield np.frombuffer(bytes.fromhex(single or ""), MINUTE_ROW)


def _merged(parts: Iterator[NDArray[Any]]) -> NDArray[Any]:
    """Return rows in order of time; of two of a minute the later one."""
    rows = np.concatenate(list(parts))
    # The newest first, so that it is the one that is found.
    _, newest = np.unique(rows["minute"][::-1], return_index=True)
    merged: NDArray[Any] = rows[len(rows) - 1 - newest]
    return merged
