"""A hash table from names, as bytes, to numbers: open addressing, linear probing.

`slots` hold an index of the other arrays, or FREE; there are more of them than names, and as many
as a power of two. `names` are rows of bytes, of which `lengths` count.
"""

from __future__ import annotations

from typing import Any, Final

from volsvc.compiled import kernel

FREE: Final = -1
# Hashes stay below 2**31, so that no product of theirs reaches 2**63.
_MASK: Final = 2**31 - 1
_FACTOR: Final = 1_000_003


@kernel
def find(slots: Any, names: Any, lengths: Any, text: Any, start: int, end: int) -> int:
    """Return the index of a name, which is a part of a text; FREE if it has none."""
    slot = _first_slot(slots, text, start, end)
    while slots[slot] != FREE:
        index = slots[slot]
        if lengths[index] == end - start and same_bytes(names[index], 0, text, start, end):
            return int(index)
        slot = (slot + 1) & (len(slots) - 1)
    return FREE


@kernel
def enter(slots: Any, names: Any, lengths: Any, first: int, end: int) -> None:
    """Give slots to the names from index `first` to `end`, which have none yet."""
    for index in range(first, end):
        slot = _first_slot(slots, names[index], 0, lengths[index])
        while slots[slot] != FREE:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = index


@kernel
def _first_slot(slots: Any, text: Any, start: int, end: int) -> int:
    code = 0
    for at in range(start, end):
        code = (code * _FACTOR + int(text[at])) & _MASK
    # The high bits depend on more of the name than the low ones.
    return (code ^ (code >> 15)) & (len(slots) - 1)


@kernel
def same_bytes(first: Any, first_start: int, text: Any, start: int, end: int) -> bool:
    """Return True if the bytes from `first_start` on are those of a part of a text."""
    for at in range(end - start):  # noqa: SIM110 - no generators in kernels
        if first[first_start + at] != text[start + at]:
            return False
    return True
