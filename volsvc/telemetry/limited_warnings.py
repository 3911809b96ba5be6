"""Warnings about what may happen with every message, limited to a few a minute."""

from __future__ import annotations

import time
from typing import Any

import structlog

# Seconds between two warnings of one reason.
EVERY_S = 60.0


class LimitedWarnings:
    """Logs the first event of each reason, then at most one a minute, with the number since."""

    def __init__(self, log: structlog.stdlib.BoundLogger, event: str) -> None:
        """`event` is the name of the event in the log. There must be few reasons."""
        self._log = log
        self._event = event
        self._unlogged: dict[str, int] = {}
        self._due_s: dict[str, float] = {}

    def add(self, reason: str, count: int = 1, **fields: Any) -> None:
        """Count events of a reason, and log the newest one if a line is due."""
        count += self._unlogged.get(reason, 0)
        now_s = time.monotonic()
        if now_s < self._due_s.get(reason, now_s):
            self._unlogged[reason] = count
            return
        self._unlogged[reason] = 0
        self._due_s[reason] = now_s + EVERY_S
        self._log.warning(self._event, reason=reason, count=count, **fields)
