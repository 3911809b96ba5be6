"""Rows as columns of small numbers, byte by byte, and back.

A value stands as its difference from the one before, bit for bit. Bytes of the same kind stand side
by side, in which a compressor finds the most.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from volsvc.compiled import kernel

_BYTE: Final = 255
_SIGN: Final = 63
# A number without its sign.
_POSITIVE: Final = 2**63 - 1


@kernel
def write_columns(rows: Any, fields: Any, content: Any) -> None:
    """Write the differences of rows, of shape (rows, bytes of a row), to an array of bytes.

    `fields` are the place in a row, the width in bytes and the number of values of each.
    """
    at = 0
    for field in range(len(fields)):
        place, width, values = fields[field]
        unused = 64 - 8 * width
        for _ in range(values):
            before = np.int64(0)
            for row in range(len(rows)):
                word = np.int64(0)
                for byte in range(width):
                    word |= np.int64(rows[row, place + byte]) << (8 * byte)
                # As a number of so many bytes; a small fall is as short as a small rise.
                difference = ((word - before) << unused) >> unused
                zigzag = (difference << 1) ^ (difference >> _SIGN)
                for byte in range(width):
                    content[at + byte * len(rows) + row] = (zigzag >> (8 * byte)) & _BYTE
                before = word
            at += width * len(rows)
            place += width


@kernel
def read_columns(content: Any, fields: Any, rows: Any) -> None:
    """Write the rows whose differences `write_columns` has written."""
    at = 0
    for field in range(len(fields)):
        place, width, values = fields[field]
        for _ in range(values):
            word = np.int64(0)
            for row in range(len(rows)):
                zigzag = np.int64(0)
                for byte in range(width):
                    zigzag |= np.int64(content[at + byte * len(rows) + row]) << (8 * byte)
                word += ((zigzag >> 1) & _POSITIVE) ^ -(zigzag & 1)
                for byte in range(width):
                    rows[row, place + byte] = (word >> (8 * byte)) & _BYTE
            at += width * len(rows)
            place += width
