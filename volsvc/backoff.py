"""Exponential backoff with jitter, and telling a cancellation of ours from a library's."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Exponential backoff with full jitter: a delay between 0 and a ceiling that doubles.

    Jitter keeps many clients of one broker from coming back in step (Brooker, 2015).
    """

    base_s: float
    max_s: float
    _attempts: int = field(default=0, init=False)

    def delay_s(self) -> float:
        """Seconds to wait before the next attempt."""
        # The exponent is bounded because 2.0**1024 overflows after a long night without a broker.
        ceiling = min(self.max_s, self.base_s * 2.0 ** min(self._attempts, 32))
        self._attempts += 1
        return random.uniform(0, ceiling)

    def reset(self) -> None:
        """Start anew after the first sign of success."""
        self._attempts = 0


def asked_to_end() -> bool:
    """Whether the current task is being cancelled.

    A CancelledError without it comes from beneath: a library's own task was cancelled, and someone
    waited for it.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
