"""Accepts connections: as many as may be open, and over TLS those that shake hands in time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable

from volsvc.telemetry.logs import get_logger

# Connections that wait in the kernel to be accepted.
BACKLOG = 4_096
# Connections that are accepted in one turn of the loop: all of a crowd, but not a flood.
A_TURN = 256
# Errors of `accept` that pass when files are closed, and the pause before the next attempt.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PAUSE_S = 1.0

log = get_logger(__name__)


class Acceptor:
    """Accepts the connections of a listening socket.

    asyncio's own listener takes one connection a turn of the loop under libuv, so that the last of
    a crowd waited for seconds; and it does not tell of connections whose handshake has not come.
    """

    def __init__(
        self,
        listening: socket.socket,
        connect: Callable[[], asyncio.Protocol],
        may_accept: Callable[[int], bool],
        tls: ssl.SSLContext | None,
        handshake_timeout_s: float,
    ) -> None:
        """`connect` makes the protocol of a new connection.

        `may_accept` is asked with the number of handshakes under way, before one more begins.
        """
        self._socket = listening
        self._connect = connect
        self._may_accept = may_accept
        self._tls = tls
        self._handshake_timeout_s = handshake_timeout_s if tls else None
        self._establishing: set[asyncio.Task[None]] = set()
        self._paused: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def handshakes(self) -> int:
        """The number of connections that are accepted and cannot be used yet."""
        return len(self._establishing)

    def start(self) -> None:
        """Accept connections from now on."""
        self._socket.setblocking(False)
        self._paused = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    async def close(self, within_s: float) -> None:
        """Accept what waits in the backlog, which closing would reset, and accept no more.

        Connections that cannot be used `within_s` seconds later are closed.
        """
        self._stop_accepting()
        self._accept(BACKLOG)
        self._stop_accepting()
        self._socket.close()
        if self._establishing:
            _, late = await asyncio.wait(self._establishing, timeout=within_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _stop_accepting(self) -> None:
        if self._paused is not None:
            self._paused.cancel()
        self._loop.remove_reader(self._socket.fileno())

    def _accept(self, most: int = A_TURN) -> None:
        for _ in range(most):
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(str(error))
                    return
                # A client that has left again.
                continue
            # Nothing can be answered before a handshake, so that one too many is closed.
            if self._tls is not None and not self._may_accept(self.handshakes):
                accepted.close()
                continue
            task = self._loop.create_task(self._establish(accepted))
            self._establishing.add(task)
            task.add_done_callback(self._establishing.discard)

    def _pause(self, reason: str) -> None:
        # The connection stays in the backlog, so that the socket would be readable again at once.
        log.warning("accept_paused", reason=reason, pause_s=PAUSE_S)
        self._stop_accepting()
        self._paused = self._loop.call_later(PAUSE_S, self.start)

    async def _establish(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        # A client that does not complete the handshake is closed by the loop.
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(
                self._connect,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_timeout_s,
            )
