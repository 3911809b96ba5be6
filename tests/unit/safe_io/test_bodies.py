"""Answers of others: bounded, and of an expected form."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from volsvc.safe_io.bodies import UnreadableAnswerError, decode_json, read_bounded


class Form(msgspec.Struct):
    """An answer with one field."""

    value: int = 0


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1000)


async def two() -> AsyncIterator[bytes]:
    yield b"ab"
    yield b"cd"


async def test_a_body_of_the_limit_is_read() -> None:
    """One byte more is too many."""
    assert await read_bounded(two(), 4) == b"abcd"
    with pytest.raises(UnreadableAnswerError, match=r"^the answer is larger than 3 bytes$"):
        await read_bounded(two(), 3)


async def test_a_body_without_end_is_not_read_to_its_end() -> None:
    """Reading stops at the limit."""
    with pytest.raises(UnreadableAnswerError, match="larger than 10000 bytes"):
        await read_bounded(endless(), 10_000)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"value": "a"}',
        b"[]",
        b'{"value": 1',
        b"\xff",
        b'{"other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 100_000,
    ],
    ids=["empty", "page", "type", "list", "cut", "bytes", "deep", "deep and cut"],
)
def test_what_is_of_no_such_form_is_refused(body: bytes) -> None:
    """Also what is nested so deeply that it exhausts the stack."""
    with pytest.raises(UnreadableAnswerError, match=r"^the answer cannot be read: "):
        decode_json(body, Form)


def test_other_fields_are_skipped() -> None:
    """A newer service may send more."""
    assert decode_json(b'{"value": 3, "more": {"x": [1]}}', Form) == Form(3)
