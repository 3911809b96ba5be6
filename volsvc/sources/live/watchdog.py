"""When a connection counts as dead although nothing has said so: silent is not quiet."""

from __future__ import annotations

from volsvc.config.live import LiveSourceSettings

# Reasons: no confirmation of the subscriptions; no message at all; messages without data.
CONFIRM, HEARTBEAT, DATA = "unconfirmed", "heartbeat", "data"


class Watchdog:
    """Deadlines of one connection, on any clock that counts seconds."""

    def __init__(self, times: LiveSourceSettings, now_s: float) -> None:
        self._times = times
        self._due = {CONFIRM: now_s + times.confirm_timeout_s}
        self.alive(now_s)
        self.data(now_s)

    def confirmed(self) -> None:
        """The subscriptions stand."""
        self._due.pop(CONFIRM, None)

    def alive(self, now_s: float) -> None:
        """Any message came; a busy venue may send no heartbeats."""
        self._due[HEARTBEAT] = now_s + self._times.heartbeat_timeout_s

    def data(self, now_s: float) -> None:
        """A message with data came."""
        self._due[DATA] = now_s + self._times.data_timeout_s

    def next(self) -> tuple[float, str]:
        """The nearest deadline, and the reason for which the connection ends there."""
        reason = min(self._due, key=self._due.__getitem__)
        return self._due[reason], reason
