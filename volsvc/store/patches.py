"""A content that changes in few places, as a base and the blocks in which it differs from that.

The state of a symbol has 27 kB, of which a second of ticks changes two or three. Whoever keeps it
each second writes the rest once.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Bytes of a block.
BLOCK: Final = 128
# A patch of more than this share of the blocks is not worth it.
MOST: Final = 0.25


class Hashes(NamedTuple):
    """The length of a content in bytes, and a hash of each block."""

    length: int
    of_blocks: NDArray[np.uint64]


# Any odd numbers of 64 bits; blocks that differ have the same sum by chance alone.
_FACTORS: Final = np.random.default_rng(0).integers(0, 2**64, BLOCK // 8, np.uint64) | np.uint64(1)


def hashes_of(content: bytes) -> Hashes:
    """Return the hashes by which later contents are compared with this one."""
    return Hashes(len(content), _of_blocks(_padded(content)))


def _of_blocks(padded: bytes) -> NDArray[np.uint64]:
    hashes: NDArray[np.uint64] = np.frombuffer(padded, np.uint64).reshape(-1, BLOCK // 8) @ _FACTORS
    return hashes


def patch_of(content: bytes, base: Hashes) -> bytes | None:
    """Return what turns a base with these hashes into a content; None for another base."""
    if len(content) != base.length:
        return None
    padded = _padded(content)
    changed = np.flatnonzero(_of_blocks(padded) != base.of_blocks)
    if len(changed) > MOST * len(base.of_blocks):
        return None
    blocks = np.frombuffer(padded, np.uint8).reshape(-1, BLOCK)[changed]
    return changed.astype("<u4").tobytes() + blocks.tobytes()


def patched(base: bytes, patch: bytes, checksum: int) -> bytes:
    """Return the content with a CRC-32 that a patch makes of its base; raises ValueError."""
    count, rest = divmod(len(patch), 4 + BLOCK)
    blocks = np.frombuffer(bytearray(_padded(base)), np.uint8).reshape(-1, BLOCK)
    numbers = np.frombuffer(patch[: 4 * count], "<u4")
    if rest or (numbers >= len(blocks)).any():
        raise ValueError("is no patch of this content")
    blocks[numbers] = np.frombuffer(patch[4 * count :], np.uint8).reshape(-1, BLOCK)
    content = blocks.tobytes()[: len(base)]
    if zlib.crc32(content) != checksum:
        raise ValueError("has another checksum")
    return content


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)
