"""Ticks of many records at once, without an object for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from volsvc.transport.kernels.plain_ticks import read_plain_ticks
from volsvc.transport.name_index import NameIndex

Texts = Sequence[bytes | None]


def read_plain(
    values: Texts, keys: Texts, symbols: NameIndex, sources: NameIndex, ticks: NDArray[Any]
) -> None:
    """Write the ticks of records, given as values and keys, to an array with a tick's columns.

    The symbol is its number in the index, NOT_PLAIN for a record that has to be decoded by itself:
    it is not exactly as `encode_tick` writes it, has no trade id, or is of another symbol. Sources
    that are not in their index are numbered by its length.
    """
    others = len(sources.numbers)
    read_plain_ticks(
        *_joined(values), *_joined(keys), symbols.arrays, sources.arrays, others, ticks
    )


def _joined(texts: Texts) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return texts one after the other, each followed by a line break, and their lengths."""
    given = cast("Sequence[bytes]", texts) if all(texts) else [text or b"" for text in texts]
    lengths = np.fromiter(map(len, given), np.int64, len(given))
    return np.frombuffer(b"\n".join((*given, b"")), np.uint8), lengths
