"""Waits before another attempt, and the origin of a cancellation."""

from __future__ import annotations

import asyncio
import random
import re
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"\d+(\.\d*)?", re.ASCII)


@dataclass(slots=True)
class Backoff:
    """Exponential backoff with full jitter: delays between 0 and a ceiling that doubles.

    Jitter keeps many clients of one broker from reconnecting in step (M. Brooker, "Exponential
    Backoff and Jitter", AWS Architecture Blog, 2015).
    """

    base_s: float
    max_s: float
    _attempts: int = field(default=0, init=False)

    def delay_s(self) -> float:
        """Return the seconds to wait before the next attempt."""
        # The exponent is bounded, because 2.0**1024 overflows after hours without a broker.
        ceiling = min(self.max_s, self.base_s * 2.0 ** min(self._attempts, 32))
        self._attempts += 1
        return random.uniform(0, ceiling)

    def reset(self) -> None:
        """Start again from the base, after the first sign of success."""
        self._attempts = 0


def retry_after_s(header: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header, a number or a date; None if not valid."""
    if header is None:
        return None
    text = header.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def asked_to_end() -> bool:
    """Return true if the current task is being cancelled.

    If not, a CancelledError comes from a task of a library that was cancelled while it was awaited.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
