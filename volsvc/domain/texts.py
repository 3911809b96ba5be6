"""Texts from outside, made fit for records, log lines and terminals.

JSON can escape half of a surrogate pair, and a file's name need not be valid Unicode. Python holds
both as text that cannot be encoded, so each is replaced where it comes in.
"""

from __future__ import annotations


def shown(value: object, most: int = 60) -> str:
    """Return a value for an error text: printable, on one line, at most `most` characters."""
    try:
        return repr(value[:most] if isinstance(value, str | bytes) else value)[:most]
    # Deeply nested lists exhaust the stack, and the digits of a long integer are not converted.
    except (RecursionError, ValueError):
        return f"a nested or long {type(value).__name__}"[:most]


def plain_text(value: object, most: int) -> str:
    """Return a value as at most `most` characters that every encoding of Unicode can hold."""
    text = value[:most] if isinstance(value, str) else shown(value, most)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def one_line(text: str, most: int = 2_000) -> str:
    """Return a text with its control characters escaped, cut to about `most` characters."""
    if len(text) > most:
        text = f"{text[:most]}... ({len(text)} characters)"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
