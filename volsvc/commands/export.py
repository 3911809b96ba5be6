"""`volsvc export`: what the store of a daemon keeps of a symbol, as a file."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from volsvc.commands.arguments import minute_argument
from volsvc.commands.row_writer import write_rows
from volsvc.config.settings import Settings, SettingsError
from volsvc.scoring.past_outcomes import FOLLOWING
from volsvc.sources.recordings.tables.formats import file_format
from volsvc.sources.recordings.tables.row_formats import Row
from volsvc.store import StoreError
from volsvc.store.columns import Columns, rows_of
from volsvc.store.database import open_for_reading
from volsvc.store.history import history
from volsvc.store.minute_table import read_feeds, read_minutes, read_span, read_symbols
from volsvc.store.outcomes import outcomes
from volsvc.store.reader import damage_of
from volsvc.telemetry.logs import get_logger

log = get_logger(__name__)

What = Literal["history", "outcomes"]

# Minutes that are read at once.
AT_ONCE: Final = 20_160


@dataclass(frozen=True)
class ExportOptions:
    """Options of `volsvc export`; without times the whole past, without `feed` the only one."""

    symbol: str
    start: str | None
    end: str | None
    out: Path
    what: What
    feed: str | None


def export(settings: Settings, options: ExportOptions) -> None:
    """Write the minutes or the outcomes of a symbol; raises VolsvcError.

    The daemon may run meanwhile.
    """
    path = settings.store_file
    if not path.exists():
        raise StoreError(
            f"{path}: there is no store; see service.data_dir and store.path, which a daemon "
            "writes to unless store.enabled is false"
        )
    start = minute_argument("--start", options.start) if options.start else 0
    end = minute_argument("--end", options.end) if options.end else None
    # CSV and NDJSON have a form for what is missing; a column of Parquet keeps its type.
    missing = float("nan") if file_format(options.out) == "parquet" else None
    try:
        with closing(open_for_reading(path)) as connection:
            feed = _feed(connection, path, options)
            span = read_span(connection, feed, options.symbol, start)
            first, newest = span or (0, -1)
            last = newest if end is None else min(newest, end - 1)
            parts = _parts(connection, feed, options, first, last)
            columns = next(parts)
            write_rows(options.out, list(columns), _rows(columns, parts, missing))
    except (sqlite3.Error, ValueError) as error:
        raise StoreError(f"{path}: {error}") from error


def _feed(connection: sqlite3.Connection, path: Path, options: ExportOptions) -> int:
    """Return the number of the feed that has the symbol; raises SettingsError."""
    feeds = read_feeds(connection)
    if options.feed is not None and options.feed not in feeds:
        raise SettingsError(f"--feed: {path} has no {options.feed!r}, but {_names(feeds)}")
    asked = [options.feed] if options.feed is not None else list(feeds)
    symbols = {name: read_symbols(connection, feeds[name]) for name in asked}
    having = [name for name in asked if options.symbol in symbols[name]]
    if not having:
        known = sorted({symbol for names in symbols.values() for symbol in names})
        raise SettingsError(f"--symbol: {path} has no {options.symbol!r}, but {_names(known)}")
    if len(having) > 1:
        raise SettingsError(f"--feed: name one of those with {options.symbol}: {_names(having)}")
    return feeds[having[0]]


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "nothing"


def _parts(
    connection: sqlite3.Connection, feed: int, options: ExportOptions, first: int, last: int
) -> Iterator[Columns]:
    """Yield the columns of minutes from `first` to `last`, part by part, at least one."""
    for start in range(first, max(last, first) + 1, AT_ONCE):
        end = min(start + AT_ONCE - 1, last)
        found = read_minutes(connection, feed, options.symbol, start, end + FOLLOWING)
        for minute in found.damaged:
            log.warning("store_damaged", error=damage_of(options.symbol, minute))
        yield history(found, end) if options.what == "history" else outcomes(found, end)[0]


def _rows(columns: Columns, parts: Iterator[Columns], missing: float | None) -> Iterator[Row]:
    for part in itertools.chain((columns,), parts):
        yield from rows_of(part, missing=missing)
