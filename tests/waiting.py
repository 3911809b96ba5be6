"""Waits for a state without an event loop; `tests.daemon.eventually` is for asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(state: Callable[[], bool], within_s: float, what: str | Callable[[], str]) -> None:
    """Wait until a state holds; fails after `within_s`, and names `what` was waited for.

    `what` may be a function, called only then.
    """
    deadline = time.monotonic() + within_s
    while not state():
        if time.monotonic() >= deadline:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {within_s} s: {text}")
        time.sleep(0.02)
