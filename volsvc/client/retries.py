"""Whether a call that failed is made again, and after how long."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from volsvc.backoff import Backoff
from volsvc.client.errors import AnswerError, BusyError, ClientError, UnreachableError

# Statuses that may be others in a moment.
_PASSING = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is made at most, and how long is waited in between.

    A wait is what `Retry-After` asks for, plus a random time up to a ceiling that doubles from
    `base_s` to `max_s`. When the service asks for more than `longest_wait_s`, the caller is told
    at once.
    """

    attempts: int = 4
    base_s: float = 0.2
    max_s: float = 5.0
    longest_wait_s: float = 30.0


class Patience:
    """What is left of the retries of one call, or of one stream since its last event."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._backoff = Backoff(retries.base_s, retries.max_s)
        self._made = 0

    def reset(self) -> None:
        """Something good came: begin anew."""
        self._made = 0
        self._backoff.reset()

    def wait_s(self, error: ClientError, *, repeatable: bool = True) -> float:
        """Seconds to wait before the next attempt; raises the error when there is to be none."""
        self._made += 1
        asked_s = (error.retry_after_s or 0.0) if isinstance(error, AnswerError) else 0.0
        if (
            self._made >= self._retries.attempts
            or asked_s > self._retries.longest_wait_s
            or not _passing(error, repeatable)
        ):
            raise error
        return asked_s + self._backoff.delay_s()


def _passing(error: ClientError, repeatable: bool) -> bool:
    """Whether the same call may succeed later, and does no harm if it was done already."""
    if isinstance(error, BusyError):
        return True
    transient = isinstance(error, UnreachableError) or (
        isinstance(error, AnswerError) and error.status in _PASSING
    )
    return transient and repeatable


def retry_after_s(header: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for, as a number or as a date; None without a valid one."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
