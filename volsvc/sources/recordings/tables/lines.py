"""Lines of plain or compressed text, read in steps that never take long.

A reader has to be able to stop between any two steps, so they give empty bytes whenever no line is
at hand: while a pipe has nothing, and inside a line that goes on.
"""

from __future__ import annotations

import bz2
import codecs
import lzma
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import BinaryIO, Protocol

# The same interface as the standard library's, which reports a truncated file; the package
# zstandard reads it as a whole one.
if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

# Bytes that are read, or inflated, at once: a few bytes of zstd can hold a gigabyte.
CHUNK = 65_536
# Bytes of lines that are parsed at once: some milliseconds of work.
BLOCK = 262_144
# Bytes of a line, the size of the largest record of a topic. A longer one is not a tick.
MAX_LINE = 262_144
# The errors of damaged data; `inflated` raises EOFError for truncated ones.
DAMAGE = (EOFError, OSError, zlib.error, zstd.ZstdError, lzma.LZMAError)


class _Inflator(Protocol):
    """The common part of zlib's and zstd's decompressors of one member."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


# By extension. 31 stands for a header and a checksum as gzip writes them.
_INFLATORS: Mapping[str, Callable[[], _Inflator]] = {
    ".gz": partial(zlib.decompressobj, 31),
    ".zst": zstd.ZstdDecompressor,
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
}
# The first bytes of each.
COMPRESSIONS: Mapping[str, bytes] = {
    ".gz": b"\x1f\x8b",
    ".zst": b"\x28\xb5\x2f\xfd",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ\0",
}


def chunks_of(raw: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of a file, and close it."""
    with raw:
        while chunk := raw.read(CHUNK):
            yield chunk


def inflated(chunks: Iterable[bytes], extension: str) -> Iterator[bytes]:
    """Yield the bytes inside one of COMPRESSIONS, of any number of members; else as they are.

    Raises one of DAMAGE.
    """
    if extension not in _INFLATORS:
        yield from chunks
        return
    new = _INFLATORS[extension]
    stream, inside = new(), False
    for chunk in chunks:
        data, more = chunk, True
        while more:
            # Tapes and some tools pad members with zeros.
            data = data if inside else data.lstrip(b"\0")
            inside = inside or bool(data)
            text = stream.decompress(data, CHUNK)
            # zlib hands back what it did not take; zstd keeps it.
            data = getattr(stream, "unconsumed_tail", b"")
            if stream.eof:
                data, stream, inside = stream.unused_data, new(), False
            more = bool(data) or len(text) == CHUNK
            yield text
    if inside:
        raise EOFError("the compressed data end before their end marker")


def as_utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield text without its byte-order mark; UTF-16, which a mark tells, as UTF-8."""
    head, decoder = b"", None
    rest = iter(chunks)
    for chunk in rest:
        head += chunk
        if len(head) >= len(codecs.BOM_UTF8):
            break
        # A pipe may have nothing more for long.
        yield b""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # A half of a surrogate pair spoils its line, not the file.
        decoder = codecs.getincrementaldecoder("utf-16")("replace")
    for chunk in chain([head.removeprefix(codecs.BOM_UTF8)], rest):
        yield decoder.decode(chunk).encode("utf-8", "replace") if decoder else chunk


def line_blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield whole lines, many at once; empty bytes for a step that has come to no whole line.

    Of a line of more than MAX_LINE bytes something longer than MAX_LINE is left. What a pipe has
    said so far is not held back: empty bytes in `chunks` end a block.
    """
    lines: list[bytes] = []
    size, rest = 0, b""
    try:
        for chunk in chunks:
            rest += chunk
            # A line may end with \r alone; at the end of a chunk that may be half of a line's end.
            end = rest.rfind(b"\n") + 1 or rest.rfind(b"\r", 0, -1) + 1
            if end:
                lines.append(rest[:end])
                size += end
            rest = rest[end : end + MAX_LINE + 1]
            if size >= BLOCK or not chunk:
                yield b"".join(lines)
                lines, size = [], 0
            elif not end:
                yield b""
    except DAMAGE:
        # The lines up to the damage are good.
        yield b"".join(lines)
        raise
    lines.append(rest)
    yield b"".join(lines)
