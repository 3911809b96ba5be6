"""The events of a feed in a database: gaps, changes of the model, checks of drift."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from volsvc.domain import format_time
from volsvc.store.columns import Columns

# Events of a feed that are kept at most, some 200 bytes each.
MOST_EVENTS: Final = 100_000


class KeptEvent(NamedTuple):
    """An event of a symbol, or of the service (an empty symbol), with fields as JSON.

    `time_ns` is a time of the market if the event has one, else the wall clock's.
    """

    time_ns: int
    kind: str
    symbol: str
    fields: bytes


class EventQuery(NamedTuple):
    """Events after `start_ns` up to `end_ns`; without a start the newest."""

    limit: int
    start_ns: int | None = None
    end_ns: int | None = None
    kind: str | None = None
    symbol: str | None = None


def write_events(connection: sqlite3.Connection, feed: int, events: Iterable[KeptEvent]) -> None:
    """Write events; one that is there already, of ticks that came again, stays."""
    connection.executemany(
        "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?)", [(feed, *one) for one in events]
    )


def read_events(
    connection: sqlite3.Connection, feed: int, query: EventQuery
) -> tuple[list[KeptEvent], int | None]:
    """Return events, oldest first, and the time after which the next page begins.

    That is None after the last page. Events of one time are in one page, which may so have more
    than `limit`.
    """
    if query.start_ns is None:
        newest = _select(connection, feed, query, "DESC", query.limit)
        return newest[::-1], None
    found = _select(connection, feed, query, "ASC", query.limit + 1)
    if len(found) <= query.limit:
        return found, None
    rest = found[-1].time_ns
    page = [event for event in found if event.time_ns < rest]
    if page:
        return page, page[-1].time_ns
    at_once = query._replace(start_ns=rest - 1, end_ns=rest)
    return _select(connection, feed, at_once, "ASC", -1), rest


def _select(
    connection: sqlite3.Connection, feed: int, query: EventQuery, order: str, limit: int
) -> list[KeptEvent]:
    rows = connection.execute(
        "SELECT time_ns, kind, symbol, fields FROM event WHERE feed = ?1 "  # noqa: S608
        "AND (?2 IS NULL OR time_ns > ?2) AND (?3 IS NULL OR time_ns <= ?3) "
        "AND (?4 IS NULL OR kind = ?4) AND (?5 IS NULL OR symbol = ?5) "
        f"ORDER BY time_ns {order}, kind {order}, symbol {order} LIMIT ?6",
        (feed, query.start_ns, query.end_ns, query.kind, query.symbol, limit),
    )
    return [KeptEvent(*row) for row in rows]


def event_columns(events: Sequence[KeptEvent], *, as_text: bool) -> Columns:
    """Return events as columns; `fields` as an object, or as JSON text."""
    fields = [one.fields.decode() if as_text else msgspec.json.decode(one.fields) for one in events]
    columns = {
        "time": [format_time(one.time_ns) for one in events],
        "kind": [one.kind for one in events],
        "symbol": [one.symbol or None for one in events],
        "fields": fields,
    }
    return {name: np.array(values, object) for name, values in columns.items()}


def delete_events(connection: sqlite3.Connection, feed: int, before_ns: int) -> None:
    """Delete the events before a time, and the oldest of too many."""
    connection.execute("DELETE FROM event WHERE feed = ? AND time_ns < ?", (feed, before_ns))
    query = "SELECT time_ns FROM event WHERE feed = ? ORDER BY time_ns DESC LIMIT 1 OFFSET ?"
    beyond = connection.execute(query, (feed, MOST_EVENTS)).fetchone()
    if beyond is not None:
        connection.execute("DELETE FROM event WHERE feed = ? AND time_ns <= ?", (feed, *beyond))
