"""A circuit breaker for the registry, with growing, jittered delays between attempts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from volsvc.backoff import Backoff
from volsvc.serving.registry_client import RegistryAwayError

# Failures in a row after which calls fail at once.
OPENS_AFTER: Final = 3


@dataclass(slots=True)
class CircuitBreaker:
    """Counts failures in a row and decides when a call may be made.

    Times are those of a monotonic clock, in seconds, given by the caller.
    """

    backoff: Backoff
    failures: int = 0
    reason: str = ""
    _until_s: float = field(default=0.0, init=False)

    @property
    def open(self) -> bool:
        """True if calls other than the next poll fail at once."""
        return self.failures >= OPENS_AFTER

    def check(self, now_s: float) -> None:
        """Raise RegistryAwayError while the breaker is open."""
        if self.open and now_s < self._until_s:
            raise RegistryAwayError(
                f"{self.reason}; {self.failures} failures in a row, next attempt in "
                f"{self._until_s - now_s:.1f} s"
            )

    def failed(self, now_s: float, reason: str) -> float:
        """Record a failure; return the seconds to wait before the next attempt."""
        self.failures += 1
        self.reason = reason
        # Never less than half of the base: full jitter alone may retry at once.
        delay_s = self.backoff.delay_s() / 2 + self.backoff.base_s / 2
        self._until_s = now_s + delay_s
        return delay_s

    def worked(self) -> None:
        """Record an answer, which closes the breaker."""
        self.failures = 0
        self.reason = ""
        self.backoff.reset()
