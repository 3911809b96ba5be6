"""Names found by kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.transport.kernels.names import FREE, find
from volsvc.transport.name_index import MAX_NAME_BYTES, NameIndex


def found(index: NameIndex, name: str) -> int | None:
    """The number of a name that stands inside a text."""
    slots, names, lengths, numbers = index.arrays
    text = np.frombuffer(b"AB" + name.encode() + b"\nAB", np.uint8)
    at = find(slots, names, lengths, text, 2, len(text) - 3)
    return None if at == FREE else int(numbers[at])


short = st.text("AB\0é", max_size=6) | st.text(max_size=MAX_NAME_BYTES // 4)
names = st.lists(short, unique=True, max_size=60)


@given(names, names, st.integers(0, 60))
def test_a_name_has_its_number(known: list[str], others: list[str], given_first: int) -> None:
    """Names given at first and added later are found, and no others."""
    numbers = {name: 1_000 - place for place, name in enumerate(known)}
    index = NameIndex({name: numbers[name] for name in known[:given_first]})
    for name in known[given_first:]:
        index.add(name, numbers[name])
    assert index.numbers == numbers
    assert {name: found(index, name) for name in [*known, *others]} == {
        name: numbers.get(name) for name in [*known, *others]
    }


def test_a_name_that_is_too_long() -> None:
    """It is refused, and the index goes on without it."""
    index = NameIndex({"A": 1})
    with pytest.raises(ValueError, match="193 bytes"):
        index.add("B" * 193, 2)
    with pytest.raises(ValueError, match="193 bytes"):
        NameIndex({"B" * 193: 2})
    index.add("B" * 192, 3)
    assert (found(index, "B" * 192), found(index, "A"), len(index.numbers)) == (3, 1, 2)
