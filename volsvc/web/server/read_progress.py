"""Progress of a client in reading its answers."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass

# Place of `tcpi_bytes_acked` in Linux' struct tcp_info (include/uapi/linux/tcp.h).
_ACKNOWLEDGED = struct.Struct("120xQ")


@dataclass(slots=True)
class ReadProgress:
    """Judges a client by the bytes that wait to be sent, and by those that it has acknowledged."""

    _unread: int = 0
    _acknowledged: int = 0
    _since_s: float = 0.0  # Monotonic time since which the client has read nothing.

    def stalled_s(self, unread: int, acknowledged: int, now_s: float) -> float:
        """Return for how long the client has read nothing, at a monotonic time.

        `unread` bytes wait now, and `acknowledged` were received so far; 0 where not known.
        """
        # Any progress starts the time anew: a slow reader is served, a stopped one is not. So does
        # the first byte that waits: on a new connection no time has passed yet. A buffer that does
        # not shrink proves nothing: a stream may write more than the client reads, and TLS hands
        # its buffer on as a whole.
        progress = unread < self._unread or acknowledged > self._acknowledged
        if progress or unread == 0 or self._unread == 0:
            self._since_s = now_s
        self._unread, self._acknowledged = unread, acknowledged
        return now_s - self._since_s


def acknowledged_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes the client's side has acknowledged; 0 where the system cannot say."""
    connection = transport.get_extra_info("socket")
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return 0
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size)
    if len(info) < _ACKNOWLEDGED.size:
        return 0
    (acknowledged,) = _ACKNOWLEDGED.unpack(info)
    return int(acknowledged)
