"""Watches the system's clock, by which ticks and answers get their ages."""

from __future__ import annotations

import time
from typing import Final

from volsvc.telemetry.health import Health
from volsvc.telemetry.logs import get_logger

# What a clock is set by in small steps is below this.
JUMP_S: Final = 1.0
# A jump shows for this long: about as long as what it has made wrong.
SHOWN_S: Final = 600.0

log = get_logger(__name__)


class ClockWatch:
    """Reports in health when the system's clock is set, found by one that nobody sets."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._ahead_s = _ahead_s()
        self._shown_until_s: float | None = None

    def check(self) -> None:
        """Compare the clocks; to be called about once a second."""
        ahead_s, now_s = _ahead_s(), time.monotonic()
        by_s, self._ahead_s = ahead_s - self._ahead_s, ahead_s
        if abs(by_s) >= JUMP_S:
            detail = (
                f"went forward by {by_s:.0f} s, or the machine slept: answers of before look old"
                if by_s > 0
                else f"went back by {-by_s:.0f} s: answers of before look new for as long"
            )
            log.warning("clock_jumped", seconds=round(by_s, 3))
            self._health.report("clock", "degraded", detail)
            self._shown_until_s = now_s + SHOWN_S
        elif self._shown_until_s is not None and now_s >= self._shown_until_s:
            self._shown_until_s = None
            self._health.report("clock", "ok")


def _ahead_s() -> float:
    return time.time() - time.monotonic()
