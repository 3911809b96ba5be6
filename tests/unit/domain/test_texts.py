"""Texts from outside, as they are stored and shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.domain.texts import one_line, plain_text, shown, without_secrets

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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://user:pw@host:5000/x: no answer", "http://(hidden)@host:5000/x: no answer"),
        ("'postgresql://u:p@w/d@db/mlflow'", "'postgresql://(hidden)@db/mlflow'"),
        ("url='wss://h/ws?id=7&api_key=abc&n=2'", "url='wss://h/ws?id=7&api_key=(hidden)&n=2'"),
        ("https://b.s3/x?X-Amz-Signature=0f&a=1", "https://b.s3/x?X-Amz-Signature=(hidden)&a=1"),
        ("https://h/trades?limit=7 failed", "https://h/trades?limit=7 failed"),
        ("mail a@b.c about ?key=none", "mail a@b.c about ?key=none"),
    ],
)
def test_secrets_of_addresses_are_hidden(text: str, expected: str) -> None:
    """Users, passwords and keys of queries; what comes with them stays."""
    assert without_secrets(text) == expected
    assert one_line(text) == expected
