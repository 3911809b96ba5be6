"""The log of an in-process bus as it is kept: committed positions, and the newest states."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from volsvc.store.patches import Blocks, Hashes, blocks_of, patch_of, patched
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
            (blocks,) = blocks_of([base])
            self._bases[key] = blocks.base()
            headers = (*record.headers, (STATE_HEADER, content))
            yield OutRecord(key, record.value, headers, record.partition)

    def write(self, records: Sequence[OutRecord], positions: Mapping[int, KeptPosition]) -> None:
        """Write the newest records, and positions; to be called in a transaction."""
        headers = [dict(record.headers) for record in records]
        contents = [of_record.pop(STATE_HEADER, b"") for of_record in headers]
        rows = []
        for record, rest, content, blocks in zip(
            records, headers, contents, blocks_of(contents), strict=True
        ):
            patch = self._patch(record.key, content, blocks)
            kept = _encode(KeptRecord(record.value, tuple(rest.items()), record.partition))
            rows.append((self._feed, record.key, kept, patch, zlib.crc32(content)))
        # Half of what it takes to delete the row and insert another.
        self._connection.executemany(
            "INSERT INTO record VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "record = excluded.record, patch = excluded.patch, checksum = excluded.checksum",
            rows,
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)",
            [
                (self._feed, number, at.next, _encode(at.headers))
                for number, at in positions.items()
            ],
        )

    def _patch(self, key: bytes, content: bytes, blocks: Blocks) -> bytes:
        """Return what makes a content of the base of its key, which may become this content."""
        base = self._bases.get(key)
        patch = None if base is None else patch_of(blocks, base)
        if patch is not None:
            return patch
        self._connection.execute(
            "INSERT OR REPLACE INTO base VALUES (?, ?, ?)", (self._feed, key, content)
        )
        self._bases[key] = blocks.base()
        return b""

    def start_over(self) -> None:
        """Have the next writes not be patches of what an undone transaction wrote."""
        self._bases.clear()

    def clear(self) -> None:
        """Delete positions and records."""
        for table in ("position", "record", "base"):
            self._connection.execute(f"DELETE FROM {table} WHERE feed = ?", (self._feed,))  # noqa: S608
