"""Waits before another attempt, the origin of a cancellation, and what is done after one."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

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


async def ends_within(closing: Awaitable[Any], limit_s: float) -> bool:
    """Await `closing`, and return true; cancel it after `limit_s`, and return false.

    For what a task does at its end, also if it ends cancelled: before Python 3.11.3
    `asyncio.timeout` raises CancelledError there, and the rest of the end does not take place
    (https://github.com/python/cpython/issues/102780). Raises what `closing` raises.
    """
    task = asyncio.ensure_future(closing)
    try:
        await asyncio.wait({task}, timeout=limit_s)
    finally:
        # It may take its time to end; nobody waits for that.
        ended = not task.cancel()
    if ended and not task.cancelled():
        task.result()
    return ended
