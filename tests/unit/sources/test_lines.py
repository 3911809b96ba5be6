"""Lines of text that comes in chunks, plain or compressed."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.sources.recordings.tables.lines import (
    CHUNK,
    DAMAGE,
    MAX_LINE,
    as_utf8,
    inflated,
    line_blocks,
    zstd,
)

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstd.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
TEXTS = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\r\n", b"\xff", b'"', b""])).map(
    b"".join
)


def chunked(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return the data in chunks of these sizes, some of them empty, and the rest."""
    chunks = []
    for size in sizes:
        chunks.append(data[:size])
        data = data[size:]
    return [*chunks, data]


@given(TEXTS, st.lists(st.integers(0, 5)))
def test_lines_do_not_depend_on_the_chunks(data: bytes, sizes: list[int]) -> None:
    """They are those of the whole, with ends of any kind."""
    blocks = list(line_blocks(chunked(data, sizes)))
    assert b"".join(blocks) == data
    assert [line for block in blocks for line in block.splitlines()] == data.splitlines()


@pytest.mark.parametrize("extension", PACK)
@given(parts=st.lists(TEXTS, max_size=3), sizes=st.lists(st.integers(0, 40)), pad=st.booleans())
def test_members(extension: str, parts: list[bytes], sizes: list[int], pad: bool) -> None:
    """Any number of members, padded with zeros or not, give what is in them."""
    packed = b"".join(map(PACK[extension], parts)) + bytes(512 * pad)
    assert b"".join(inflated(chunked(packed, sizes), extension)) == b"".join(parts)


@pytest.mark.parametrize("extension", PACK)
def test_no_step_is_large(extension: str) -> None:
    """A few bytes that hold a gigabyte come in small pieces, all of which are there."""
    size = 3 * CHUNK * 100
    pieces = list(inflated([PACK[extension](bytes(size))], extension))
    assert max(map(len, pieces)) <= CHUNK
    assert sum(map(len, pieces)) == size


@pytest.mark.parametrize("extension", PACK)
def test_truncated_and_damaged_data(extension: str) -> None:
    """Truncated data raise EOFError at their end, damaged ones an error of their format."""
    packed = PACK[extension](b"abc" * 100)
    with pytest.raises(EOFError):
        list(inflated([packed[:-1]], extension))
    with pytest.raises(DAMAGE):
        list(inflated([b"no such thing at all"], extension))


def test_a_long_line_is_cut() -> None:
    """It takes bounded memory, gives a step for each chunk, and ends at its end."""
    chunks = [b"first\n", *[b"x" * CHUNK] * 40, b"\nlast"]
    steps = list(line_blocks(chunks))
    first, long, last = b"".join(steps).splitlines()
    assert (first, last) == (b"first", b"last")
    assert MAX_LINE < len(long) < 2 * MAX_LINE
    assert steps.count(b"") == 40


def test_a_mark_is_awaited_in_steps() -> None:
    """A pipe may say too little for long; a reader can stop after each of its chunks."""
    steps = as_utf8(iter([b"\xef", b"", b"\xbb\xbfa", b"b"]))
    assert list(steps) == [b"", b"", b"a", b"b"]
