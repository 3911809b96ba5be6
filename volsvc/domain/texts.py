"""Texts from outside, made fit for records, log lines and terminals.

JSON can escape half of a surrogate pair, and a file's name need not be valid Unicode. Python holds
both as text that cannot be encoded, so each is replaced where it comes in.
"""

from __future__ import annotations

import re

# A user and a password in an address, and what a query calls a token, a key or the like.
_SECRETS = (
    (re.compile(r"(?<=://)[^\s'\"<>]*@"), "(hidden)@"),
    (
        re.compile(
            r"([?&][\w.-]*(?:auth|credential|key|pass|secret|sig|token)[\w.-]*=)[^&\s'\"<>]+",
            re.IGNORECASE,
        ),
        r"\1(hidden)",
    ),
)


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


def without_secrets(text: str) -> str:
    """Return a text with the passwords and keys of its addresses hidden."""
    if "://" in text:
        for pattern, shown_instead in _SECRETS:
            text = pattern.sub(shown_instead, text)
    return text


def one_line(text: str, most: int = 2_000) -> str:
    """Return a text for logs and terminals, cut to about `most` characters.

    Its control characters are escaped, and the secrets of addresses are hidden.
    """
    text = without_secrets(text)
    if len(text) > most:
        text = f"{text[:most]}... ({len(text)} characters)"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
