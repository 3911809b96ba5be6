"""Deadlines that find a connection which is open but silent.

TCP does not report a peer that has vanished while nothing is sent, and a venue may stop its data
while its heartbeats go on.
"""

from __future__ import annotations

from volsvc.config.live import LiveSourceSettings

# Reasons for the end of a connection: no confirmation of the subscriptions; no message at all;
# messages without data.
UNCONFIRMED, HEARTBEAT, DATA = "unconfirmed", "heartbeat", "data"


class Watchdog:
    """The deadlines of one connection, on any clock that counts seconds."""

    def __init__(self, settings: LiveSourceSettings, now_s: float) -> None:
        self._settings = settings
        self._deadlines = {UNCONFIRMED: now_s + settings.confirm_timeout_s}
        self.message_received(now_s)
        self.data_received(now_s)

    def subscriptions_confirmed(self) -> None:
        """Drop the deadline of the confirmation."""
        self._deadlines.pop(UNCONFIRMED, None)

    def message_received(self, now_s: float) -> None:
        """Extend the deadline of heartbeats after a message of any kind."""
        # Any kind, because Kraken sends heartbeats only while it sends nothing else.
        self._deadlines[HEARTBEAT] = now_s + self._settings.heartbeat_timeout_s

    def data_received(self, now_s: float) -> None:
        """Extend the deadline of data."""
        self._deadlines[DATA] = now_s + self._settings.data_timeout_s

    def next_deadline(self) -> tuple[float, str]:
        """Return the nearest deadline and the reason for which the connection ends there."""
        reason = min(self._deadlines, key=self._deadlines.__getitem__)
        return self._deadlines[reason], reason
