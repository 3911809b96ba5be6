"""The decision on another attempt after a failed call, and the wait before it."""

from __future__ import annotations

from dataclasses import dataclass

from volsvc.backoff import Backoff
from volsvc.client.errors import AnswerError, BusyError, ClientError, UnreachableError

# Statuses of problems that may pass soon; a 500 is a fault of the service itself.
_TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Retries:
    """The maximum number of attempts of a call, and the waits between them.

    A wait is the time of `Retry-After`, plus a random time up to a ceiling that doubles from
    `base_s` to `max_s`. If the service asks for more than `longest_wait_s`, the error is raised at
    once.
    """

    attempts: int = 4
    base_s: float = 0.2
    max_s: float = 5.0
    longest_wait_s: float = 30.0


class RetryState:
    """The attempts of one call, or of one stream since its last event."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._backoff = Backoff(retries.base_s, retries.max_s)
        self._attempts = 0

    def reset(self) -> None:
        """Start anew after a success."""
        self._attempts = 0
        self._backoff.reset()

    def wait_s(self, error: ClientError, *, idempotent: bool = True) -> float:
        """Return the seconds to wait before the next attempt; raises the error if there is none."""
        self._attempts += 1
        requested_s = (error.retry_after_s or 0.0) if isinstance(error, AnswerError) else 0.0
        if (
            self._attempts >= self._retries.attempts
            or requested_s > self._retries.longest_wait_s
            or not _may_succeed_later(error, idempotent)
        ):
            raise error
        # With jitter on top, so that clients with the same Retry-After do not return together.
        return requested_s + self._backoff.delay_s()


def _may_succeed_later(error: ClientError, idempotent: bool) -> bool:
    # A refused call has had no effect, so it may be repeated in any case.
    if isinstance(error, BusyError):
        return True
    transient = isinstance(error, UnreachableError) or (
        isinstance(error, AnswerError) and error.status in _TRANSIENT_STATUSES
    )
    return transient and idempotent
