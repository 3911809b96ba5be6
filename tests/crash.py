"""A crash inside this process, at a failpoint."""

from __future__ import annotations


class Crash(BaseException):
    """A crash of the process; no `except Exception` handles it."""


def crash() -> None:
    """Raise a Crash."""
    raise Crash
