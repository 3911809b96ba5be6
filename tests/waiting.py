"""Waits for a state without an event loop; `tests.daemon.eventually` is for asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable

# A deadline is what an idle machine needs with ease. A busy one is given this many times as long.
PATIENCE = 4.0


def until(state: Callable[[], bool], within_s: float, what: str | Callable[[], str]) -> None:
    """Wait until a state holds; fails after PATIENCE times `within_s`, and names `what` it was.

    `what` may be a function, called only then.
    """
    deadline = time.monotonic() + PATIENCE * within_s
    while not state():
        if time.monotonic() >= deadline:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {PATIENCE * within_s} s: {text}")
        time.sleep(0.02)
