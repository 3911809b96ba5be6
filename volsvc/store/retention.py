"""The bounds of a store: minutes that are too old or too many leave it, a little at a time."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from volsvc.domain import NS
from volsvc.features import MINUTE_NS
from volsvc.scoring.scores import DAY_MINUTES
from volsvc.store.event_table import delete_events
from volsvc.store.minute_table import BLOCK_MINUTES

# Blocks that leave in one transaction, and pages of 4 kB that are given back to the file system.
BLOCKS: Final = 64
PAGES: Final = 4_096
DAY_NS: Final = 86_400 * NS


class Retention(NamedTuple):
    """Bounds of a store: days of minutes before the newest of a feed, and bytes of the file."""

    days: float
    max_bytes: int


def reclaim(
    connection: sqlite3.Connection, retention: Retention, feed: int, newest: int, now_ns: int
) -> bool:
    """Delete some of what is beyond the bounds; return True if there is more to delete.

    `newest` is the newest minute of the feed in use. Feeds that nobody has used for as many days
    leave as a whole. To be called in a transaction.
    """
    first = (newest - round(retention.days * DAY_MINUTES)) // BLOCK_MINUTES
    old = "SELECT id FROM symbol WHERE feed = ?"
    more = _delete_blocks(connection, f"symbol IN ({old}) AND number < ?", feed, first)
    delete_events(connection, feed, first * BLOCK_MINUTES * MINUTE_NS)
    unused_ns = now_ns - round(retention.days * DAY_NS)
    for (other,) in connection.execute(
        "SELECT id FROM feed WHERE id <> ? AND used_ns < ?", (feed, unused_ns)
    ).fetchall():
        if _delete_blocks(connection, f"symbol IN ({old})", other):
            more = True
        else:
            _delete_feed(connection, other)
    if size_of(connection) > retention.max_bytes:
        oldest = connection.execute("SELECT min(number) FROM block").fetchone()[0]
        if oldest is not None:
            _delete_blocks(connection, "number = ?", oldest)
            more = more or size_of(connection) > retention.max_bytes
    connection.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
    return more


def size_of(connection: sqlite3.Connection) -> int:
    """Return the bytes of the file that hold something."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _delete_blocks(connection: sqlite3.Connection, which: str, *values: int) -> bool:
    """Delete some blocks; return True if as many as are deleted at once were found."""
    chosen = f"SELECT rowid FROM block WHERE {which} LIMIT {BLOCKS}"  # noqa: S608
    deleted = connection.execute(f"DELETE FROM block WHERE rowid IN ({chosen})", values)  # noqa: S608
    return deleted.rowcount == BLOCKS


def _delete_feed(connection: sqlite3.Connection, feed: int) -> None:
    connection.execute(
        "DELETE FROM minute WHERE symbol IN (SELECT id FROM symbol WHERE feed = ?)", (feed,)
    )
    for table in ("symbol", "position", "record", "base", "event"):
        connection.execute(f"DELETE FROM {table} WHERE feed = ?", (feed,))  # noqa: S608
    connection.execute("DELETE FROM feed WHERE id = ?", (feed,))
