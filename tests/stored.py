"""The contents of a store, read beside the daemon that owns it or after it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from volsvc.store import Minutes
from volsvc.store.kept_log import KeptLog
from volsvc.store.minute_table import read_minutes
from volsvc.transport import OutRecord

FILE = "volsvc.db"


def records(folder: Path) -> dict[str, OutRecord]:
    """Return the newest record of each symbol of the only feed of the store in a data folder."""
    with closing(sqlite3.connect(folder / FILE)) as connection:
        found: dict[str, OutRecord] = {}
        for record in KeptLog(connection, 1).records():
            assert not isinstance(record, str), record
            found[record.key.decode()] = record
        return found


def write_digests(folder: Path, out: Path) -> None:
    """Write the values of the records, which have the digests of the symbols."""
    out.write_bytes(b"".join((record.value or b"") + b"\n" for record in records(folder).values()))


def newest(folder: Path) -> dict[str, str]:
    """Return the event time of the newest tick in the state of each symbol."""
    return {name: json.loads(one.value or b"")["time"] for name, one in records(folder).items()}


def minutes(folder: Path, symbol: str) -> Minutes:
    """Return all minutes of a symbol."""
    with closing(sqlite3.connect(folder / FILE)) as connection:
        return read_minutes(connection, 1, symbol, 0, 2**31 - 1)
