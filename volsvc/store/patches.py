"""A content that changes in few places, as a base and the blocks in which it differs from that.

The state of a symbol has 27 kB, of which a second of ticks changes two or three. Whoever keeps it
each second writes the rest once.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Bytes of a block.
BLOCK: Final = 128
# A patch of more than this share of the blocks is not worth it.
MOST: Final = 0.25
# Contents that are hashed at once: a megabyte or two, which a processor's cache holds.
TOGETHER: Final = 64

Words = NDArray[np.uint64]


class Hashes(NamedTuple):
    """The length of a content in bytes, and a hash of each block."""

    length: int
    of_blocks: Words


class Blocks(NamedTuple):
    """A content as blocks, of shape (blocks, BLOCK // 8), with their hashes."""

    words: Words
    hashes: Hashes

    def base(self) -> Hashes:
        """Return the hashes by which later contents are compared with this one."""
        # Not a part of an array of many contents, which would stay in memory with it.
        return Hashes(self.hashes.length, self.hashes.of_blocks.copy())


# Any odd numbers of 64 bits; blocks that differ have the same sum by chance alone.
_FACTORS: Final = np.random.default_rng(0).integers(0, 2**64, BLOCK // 8, np.uint64) | np.uint64(1)


def blocks_of(contents: Sequence[bytes]) -> Iterator[Blocks]:
    """Yield the blocks of each content, hashed many contents at once."""
    for start in range(0, len(contents), TOGETHER):
        part = contents[start : start + TOGETHER]
        padded = b"".join([piece for content in part for piece in (content, _padding(content))])
        words = np.frombuffer(padded, np.uint64).reshape(-1, BLOCK // 8)
        hashes: Words = words @ _FACTORS
        first = 0
        for content in part:
            end = first - len(content) // -BLOCK
            yield Blocks(words[first:end], Hashes(len(content), hashes[first:end]))
            first = end


def patch_of(content: Blocks, base: Hashes) -> bytes | None:
    """Return what turns a base with these hashes into a content; None for another base."""
    if content.hashes.length != base.length:
        return None
    changed = np.flatnonzero(content.hashes.of_blocks != base.of_blocks)
    if len(changed) > MOST * len(base.of_blocks):
        return None
    return changed.astype("<u4").tobytes() + content.words[changed].tobytes()


def patched(base: bytes, patch: bytes, checksum: int) -> bytes:
    """Return the content with a CRC-32 that a patch makes of its base; raises ValueError."""
    count, rest = divmod(len(patch), 4 + BLOCK)
    blocks = np.frombuffer(bytearray(base + _padding(base)), np.uint8).reshape(-1, BLOCK)
    numbers = np.frombuffer(patch[: 4 * count], "<u4")
    if rest or (numbers >= len(blocks)).any():
        raise ValueError("is no patch of this content")
    blocks[numbers] = np.frombuffer(patch[4 * count :], np.uint8).reshape(-1, BLOCK)
    content = blocks.tobytes()[: len(base)]
    if zlib.crc32(content) != checksum:
        raise ValueError("has another checksum")
    return content


def _padding(content: bytes) -> bytes:
    return bytes(-len(content) % BLOCK)
