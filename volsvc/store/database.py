"""The file of a store: a SQLite database with a version, of which one process is the owner."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from volsvc.domain import VolsvcError

# In the head of the file: "vols" names the kind of file, the number its schema.
APPLICATION_ID: Final = 0x766F6C73
# A statement waits this long for another process that reads the file.
BUSY_S: Final = 5.0
# Pages of 4 kB in the write-ahead log before they are moved to the file: states that change every
# second are moved once for many writes.
LOG_PAGES: Final = 16_384

# By version: what makes the schema of the one before into it.
MIGRATIONS: Final = (
    """
    CREATE TABLE feed (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL,
        used_ns INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE position (
        feed INTEGER NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
        headers BLOB NOT NULL, PRIMARY KEY (feed, partition)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE base (
        feed INTEGER NOT NULL, key BLOB NOT NULL, content BLOB NOT NULL, PRIMARY KEY (feed, key)
    ) STRICT;
    CREATE TABLE record (
        feed INTEGER NOT NULL, key BLOB NOT NULL, record BLOB NOT NULL, patch BLOB NOT NULL,
        checksum INTEGER NOT NULL, PRIMARY KEY (feed, key)
    ) STRICT;
    CREATE TABLE symbol (
        id INTEGER PRIMARY KEY, feed INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (feed, name)
    ) STRICT;
    CREATE TABLE model (
        id INTEGER PRIMARY KEY, variant TEXT NOT NULL, version TEXT NOT NULL,
        UNIQUE (variant, version)
    ) STRICT;
    CREATE TABLE minute (
        symbol INTEGER NOT NULL, minute INTEGER NOT NULL, row BLOB NOT NULL,
        PRIMARY KEY (symbol, minute)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE block (
        symbol INTEGER NOT NULL, number INTEGER NOT NULL, content BLOB NOT NULL,
        PRIMARY KEY (symbol, number)
    ) STRICT;
    CREATE INDEX block_by_time ON block (number);
    """,
    """
    CREATE TABLE event (
        feed INTEGER NOT NULL, time_ns INTEGER NOT NULL, kind TEXT NOT NULL, symbol TEXT NOT NULL,
        fields BLOB NOT NULL, PRIMARY KEY (feed, time_ns, kind, symbol)
    ) STRICT, WITHOUT ROWID;
    """,
)
VERSION: Final = len(MIGRATIONS)


class StoreError(VolsvcError):
    """The store cannot be used; the text says why, and what to do."""


class DamagedStoreError(StoreError):
    """The file is no database, or one with pages that are damaged."""


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create a store's file, with the newest schema, for use in any one thread at a time.

    Raises DamagedStoreError, or StoreError for a file that is not ours, of a newer release, or that
    cannot be opened.
    """
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        with _closed_on_error(connection):
            _prepare(connection, path)
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise DamagedStoreError(f"{path}: {error}") from error
    return connection


@contextlib.contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _check_kind(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the schema, 0 in a new file; raises StoreError for another's file."""
    (kind,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and kind != APPLICATION_ID:
        raise StoreError(f"{path}: is a database of another program; set store.path")
    if version > VERSION:
        raise StoreError(
            f"{path}: has schema {version} of a newer release, and this one knows {VERSION}; "
            "run that release, or set store.path to another file"
        )
    return int(version)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = _check_kind(connection, path)
    if not version:
        # Space of what was deleted can be given back in small pieces.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    # A transaction that a killed process committed is whole and there; the newest seconds before
    # the machine lost power may be missing.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    for number in range(version, VERSION):
        connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]}"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number + 1}; COMMIT;"
        )


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a store's file beside the process that writes it, or after it.

    Raises StoreError for a file that is missing, not ours, or of a newer release.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        connection = sqlite3.connect(uri, timeout=BUSY_S, uri=True)
        with _closed_on_error(connection):
            _check_kind(connection, path)
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: {error}") from error
    return connection


def put_aside(path: Path) -> Path:
    """Rename a store's file and its log, and return the new name of the file."""
    aside = path.with_name(f"{path.name}.broken-{os.urandom(4).hex()}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        # The log belongs to its file: under another name neither is whole.
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside
