"""Contents as a base and the blocks that differ."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.store.patches import BLOCK, TOGETHER, Blocks, blocks_of, patch_of, patched


def blocks(content: bytes) -> Blocks:
    (found,) = blocks_of([content])
    return found


CONTENTS = st.binary(max_size=40 * BLOCK)


@given(CONTENTS, st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=9))
def test_a_patch_makes_the_content(base: bytes, changes: list[tuple[int, int]]) -> None:
    """Whatever bytes change, the patch brings the base to them, or there is none."""
    content = bytearray(base)
    for at, value in changes:
        if base:
            content[at % len(base)] = value
    patch = patch_of(blocks(bytes(content)), blocks(base).base())
    changed = {at // BLOCK for at in range(len(base)) if base[at] != content[at]}
    if patch is None:
        assert len(changed) > len(base) / BLOCK / 4 - 1
        return
    assert len(patch) == len(changed) * (4 + BLOCK)
    assert patched(base, patch, zlib.crc32(content)) == content


@given(CONTENTS, CONTENTS)
def test_another_length_needs_another_base(base: bytes, content: bytes) -> None:
    """A base is of one length, also where padding hides a difference."""
    if len(base) != len(content):
        assert patch_of(blocks(content), blocks(base).base()) is None
    assert patch_of(blocks(base + b"\0"), blocks(base).base()) is None


@given(st.lists(CONTENTS, min_size=1, max_size=2 * TOGETHER))
def test_many_are_hashed_as_each_alone(contents: list[bytes]) -> None:
    """Contents of any lengths do not touch each other."""
    for content, found in zip(contents, blocks_of(contents), strict=True):
        alone = blocks(content)
        assert found.hashes.length == len(content)
        assert found.hashes.of_blocks.tolist() == alone.hashes.of_blocks.tolist()
        assert found.words.tobytes()[: len(content)] == content


@pytest.mark.parametrize("patch", [b"?", b"\xff" * 4 + bytes(BLOCK), bytes(4 + BLOCK)])
def test_what_is_no_patch_of_a_base(patch: bytes) -> None:
    """A cut one, one of a longer base, and one of another content are refused."""
    base = b"\1" * (3 * BLOCK)
    with pytest.raises(ValueError, match=r"patch|checksum"):
        patched(base, patch, zlib.crc32(base))
