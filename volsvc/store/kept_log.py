"""The log of an in-process bus as it is kept: committed positions, and the newest states."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from volsvc.store.patches import Hashes, hashes_of, patch_of, patched
from volsvc.transport import OutRecord
from volsvc.transport.features_record import STATE_HEADER
from volsvc.transport.memory import KeptPosition


class KeptRecord(NamedTuple):
    """A record as it is stored, but for the state in its header, which is stored apart."""

    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    partition: int | None


_encode = msgspec.msgpack.Encoder().encode
_decode_record = msgspec.msgpack.Decoder(KeptRecord).decode
_decode_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode


class KeptLog:
    """The part of a store that belongs to one feed; states are written as patches of a base.

    Every call is one of the thread that uses the connection.
    """

    def __init__(self, connection: sqlite3.Connection, feed: int) -> None:
        self._connection = connection
        self._feed = feed
        self._bases: dict[bytes, Hashes] = {}

    def positions(self) -> dict[int, KeptPosition]:
        """Return the committed position of each partition."""
        query = "SELECT partition, next, headers FROM position WHERE feed = ?"
        rows = self._connection.execute(query, (self._feed,))
        return {number: KeptPosition(at, _decode_headers(headers)) for number, at, headers in rows}

    def records(self) -> Iterator[OutRecord | str]:
        """Yield the newest record of each key, or what is wrong with it.

        Later writes are patches of what this has read.
        """
        rows = self._connection.execute(
            "SELECT key, record, patch, checksum, content FROM record JOIN base USING (feed, key) "
            "WHERE feed = ? ORDER BY key",
            (self._feed,),
        )
        for key, stored, patch, checksum, base in rows:
            try:
                content = patched(base, patch, checksum)
                record = _decode_record(stored)
            except (ValueError, msgspec.MsgspecError) as error:
                yield f"the state of {key.decode(errors='replace')} is damaged: {error}"
                continue
            self._bases[key] = hashes_of(base)
            headers = (*record.headers, (STATE_HEADER, content))
            yield OutRecord(key, record.value, headers, record.partition)

    def write(self, records: Iterable[OutRecord], positions: Mapping[int, KeptPosition]) -> None:
        """Write the newest records, and positions; to be called in a transaction."""
        for record in records:
            self._write_record(record)
        self._connection.executemany(
            "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)",
            [
                (self._feed, number, at.next, _encode(at.headers))
                for number, at in positions.items()
            ],
        )

    def _write_record(self, record: OutRecord) -> None:
        key, headers = record.key, dict(record.headers)
        content = headers.pop(STATE_HEADER, b"")
        base = self._bases.get(key)
        patch = None if base is None else patch_of(content, base)
        if patch is None:
            patch = b""
            self._connection.execute(
                "INSERT OR REPLACE INTO base VALUES (?, ?, ?)", (self._feed, key, content)
            )
            self._bases[key] = hashes_of(content)
        kept = _encode(KeptRecord(record.value, tuple(headers.items()), record.partition))
        self._connection.execute(
            "INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?)",
            (self._feed, key, kept, patch, zlib.crc32(content)),
        )

    def start_over(self) -> None:
        """Have the next writes not be patches of what an undone transaction wrote."""
        self._bases.clear()

    def clear(self) -> None:
        """Delete positions and records."""
        for table in ("position", "record", "base"):
            self._connection.execute(f"DELETE FROM {table} WHERE feed = ?", (self._feed,))  # noqa: S608
