"""A circuit breaker: who does not answer is left alone for a while, and asked again with jitter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from volsvc.backoff import Backoff
from volsvc.serving.mlflow_rest import RegistryAwayError

# Failures in a row after which calls fail at once.
OPENS_AFTER: Final = 3


@dataclass(slots=True)
class CircuitBreaker:
    """Times are of a monotonic clock, in seconds, given by the caller."""

    backoff: Backoff
    failures: int = 0
    reason: str = ""
    _until_s: float = field(default=0.0, init=False)

    @property
    def open(self) -> bool:
        """Whether calls other than the next poll fail at once."""
        return self.failures >= OPENS_AFTER

    def check(self, now_s: float) -> None:
        """Raise RegistryAwayError while the breaker is open."""
        if self.open and now_s < self._until_s:
            raise RegistryAwayError(
                f"{self.reason}; {self.failures} failures in a row, asked again in "
                f"{self._until_s - now_s:.1f} s"
            )

    def failed(self, now_s: float, reason: str) -> float:
        """Note a failure; returns the seconds to wait before the next attempt."""
        self.failures += 1
        self.reason = reason
        # Half of the ceiling at least: full jitter alone would now and then hammer at once.
        delay_s = self.backoff.delay_s() / 2 + self.backoff.base_s / 2
        self._until_s = now_s + delay_s
        return delay_s

    def worked(self) -> None:
        """Note an answer."""
        self.failures = 0
        self.reason = ""
        self.backoff.reset()
