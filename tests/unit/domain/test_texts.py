"""Texts from outside, as they are stored and shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.domain.texts import one_line, plain_text, shown

LONE = "\ud800"


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


VALUES = st.one_of(
    st.text(st.characters(), max_size=80).map(lambda text: text + LONE),
    st.binary(max_size=80),
    st.integers(),
    st.sampled_from([10**5_000, nested(5_000), {"a": LONE}, None, 1.5]),
)


@given(VALUES, st.integers(1, 70))
def test_any_value_has_a_text(value: Any, most: int) -> None:
    """It can be encoded and is no longer than asked for; in an error text it is on one line."""
    for text in (shown(value, most), plain_text(value, most)):
        assert len(text) <= most
        text.encode()
    assert shown(value, most).isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [("csv", "csv"), ("a\tb", "a\tb"), ("é€", "é€"), (f"a{LONE}b", "a?b"), (7, "7"), ([1], "[1]")],
)
def test_plain_texts(value: Any, text: str) -> None:
    """A text stays as it is but for halves of surrogate pairs; another value is its literal."""
    assert plain_text(value, 10) == text


def test_one_line() -> None:
    """Control characters and halves of surrogate pairs are escaped, a long text is cut."""
    assert one_line("feed é") == "feed é"
    assert one_line("a\nb\x1b[2J\x00" + LONE) == r"a\nb\x1b[2J\x00\ud800"
    assert one_line("x" * 30, 10) == "x" * 10 + "... (30 characters)"
