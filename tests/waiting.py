"""Waiting for a state where there is no event loop; `tests.daemon.eventually` is for asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(state: Callable[[], bool], within_s: float, what: str | Callable[[], str]) -> None:
    """Wait until a state holds; fails with `what` was waited for, which may be asked for then."""
    deadline = time.monotonic() + within_s
    while not state():
        if time.monotonic() >= deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {within_s} s: {said}")
        time.sleep(0.02)
