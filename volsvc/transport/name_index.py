"""Numbers of names in arrays that kernels search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from volsvc.transport.kernels import names

# Bytes of the longest symbol: 64 letters of three bytes each.
MAX_NAME_BYTES: Final = 192
_FIRST_NAMES: Final = 16

IndexArrays = tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]


class NameIndex:
    """Numbers of names, for kernels. Names may be added, and are removed by making a new index."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        """Start with the numbers of names. Raises ValueError if a name is too long."""
        self._build(numbers, _FIRST_NAMES)

    @property
    def numbers(self) -> Mapping[str, int]:
        """The numbers by name."""
        return self._numbers

    @property
    def arrays(self) -> IndexArrays:
        """Slots, names and lengths as `kernels.names` has them, and the numbers of the names."""
        return self._slots, self._names, self._lengths, self._values

    def _build(self, numbers: Mapping[str, int], room: int) -> None:
        count = len(numbers)
        while room < count:
            room *= 2
        self._numbers = dict(numbers)
        self._names = np.zeros((room, MAX_NAME_BYTES), np.uint8)
        self._lengths = np.zeros(room, np.int64)
        self._values = np.zeros(room, np.int64)
        self._slots = np.full(4 * room, names.FREE)
        self._enter(list(numbers), 0, count)
        self._values[:count] = list(numbers.values())

    def _enter(self, new: Sequence[str], first: int, end: int) -> None:
        texts = [name.encode() for name in new]
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        if lengths.max(initial=0) > MAX_NAME_BYTES:
            raise ValueError(f"a name has {lengths.max()} bytes")
        padded = np.array(texts, f"S{MAX_NAME_BYTES}")
        self._names[first:end] = padded.view(np.uint8).reshape(-1, MAX_NAME_BYTES)
        self._lengths[first:end] = lengths
        names.enter(self._slots, self._names, self._lengths, first, end)

    def add(self, name: str, number: int) -> None:
        """Add a name that is not in the index. Raises ValueError if it is too long."""
        index = len(self._numbers)
        if index == len(self._values):
            self._build(self._numbers, 2 * index)
        self._enter([name], index, index + 1)
        self._values[index] = number
        self._numbers[name] = number
