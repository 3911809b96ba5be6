"""Numbers in texts of others: plain digits only.

Python also takes underscores between digits ("1_0" is 10) and the digits of every script, which no
feed and no user means: such a text is damaged, and its number would be a guess.
"""

from __future__ import annotations


def float_of(text: str) -> float:
    """Return the number that a text holds; raises ValueError if it is not plain."""
    _check(text)
    return float(text)


def int_of(text: str) -> int:
    """Return the whole number that a text holds; raises ValueError if it is not plain."""
    _check(text)
    return int(text)


def _check(text: str) -> None:
    if "_" in text or not text.isascii():
        raise ValueError(f"{text[:40]!r} is not a number in plain digits")
