"""The HTTP server: binds, checks its connections for slow clients, and drains."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import time

from aiohttp import web

from volsvc.config.http import HttpSettings
from volsvc.domain import StartupError
from volsvc.web.admission import GATE
from volsvc.web.server.connection import CHECK_S, Connection, ConnectionContext
from volsvc.web.server.fast_path import FAST_PATH
from volsvc.web.services import SERVICES

# How long a drained server waits for idle connections to be used once more or closed.
IDLE_DRAIN_S = 0.5
BACKLOG = 4_096
# Listeners on the one socket. libuv, and so uvloop, takes one connection a listener in a turn of
# the loop: with one listener and hundreds of busy clients, the last of a crowd waited for
# seconds.
LISTENERS = 32


class Server:
    """A bound HTTP server; `close` finishes requests in flight."""

    def __init__(self, app: web.Application, settings: HttpSettings, grace_s: float) -> None:
        """Prepare to serve; raises StartupError if the certificate or its key cannot be used."""
        self._settings = settings
        self._grace_s = grace_s
        self._gate = app[GATE]
        self._fast_path = app[FAST_PATH]
        self._metrics = app[SERVICES].metrics
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if settings.tls else None
        self.reload_certificate(settings)
        self._socket: socket.socket | None = None
        self._listeners: list[asyncio.Server] = []
        self._checking: asyncio.Task[None] | None = None
        self._runner = web.AppRunner(
            app, handle_signals=False, access_log=None, shutdown_timeout=grace_s
        )

    def reload_certificate(self, settings: HttpSettings) -> None:
        """Use this certificate for new clients.

        Raises StartupError if it cannot be used; the old one then stays.
        """
        if self._tls is None or not settings.tls:
            return
        try:
            # A context of its own first: a pair that does not fit would spoil the one in use.
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                settings.cert_file, settings.key_file
            )
            self._tls.load_cert_chain(settings.cert_file, settings.key_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or error.args[-1]
            raise StartupError(
                f"http.cert_file = '{settings.cert_file}', http.key_file = '{settings.key_file}': "
                f"cannot be used: {reason}"
            ) from error

    async def start(self) -> str:
        """Bind, and return the base URL; raises StartupError if the address cannot be bound."""
        self._socket = _listen(self._settings.host, self._settings.port)
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        for _ in range(LISTENERS):
            # A listener closes the socket that it is given; ours stays open for the backlog.
            listener = await loop.create_server(
                self._connection, sock=self._socket.dup(), ssl=self._tls, backlog=BACKLOG
            )
            self._listeners.append(listener)
        self._checking = asyncio.create_task(self._check_connections(), name="connections")
        host, port = self._socket.getsockname()[:2]
        scheme = "https" if self._tls else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def close(self) -> None:
        """Stop accepting connections, finish requests in flight, and close."""
        for listener in self._listeners:
            listener.close()
        if self._socket is not None:
            await self._accept_backlog(self._socket)
        # A kept-alive connection is told to close by its next answer. It gets a moment for that:
        # closed at once, it might be with a request on its way.
        deadline = time.monotonic() + min(IDLE_DRAIN_S, self._grace_s)
        while self._connections() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await self._runner.cleanup()
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait({self._checking})

    def _connection(self) -> Connection:
        server = self._runner.server
        assert server is not None, "set up before it listens"
        return Connection(ConnectionContext(server, self._gate, self._fast_path, self._settings))

    async def _check_connections(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            now_s = time.monotonic()
            connections = self._connections()
            self._metrics.http.connections.set(len(connections))
            for connection in connections:
                if isinstance(connection, Connection):
                    connection.check(now_s)

    async def _accept_backlog(self, listening: socket.socket) -> None:
        """Accept connections that wait in the backlog; closing the socket would reset them."""
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        with listening, contextlib.suppress(BlockingIOError):
            waiting = []
            try:
                while True:
                    waiting.append(listening.accept()[0])
            finally:
                listening.close()
                for connection_socket in waiting:
                    connection_socket.setblocking(False)
                    # Close connections that do not complete the handshake.
                    with contextlib.suppress(OSError):
                        await loop.connect_accepted_socket(
                            self._connection, connection_socket, ssl=self._tls
                        )

    def _connections(self) -> list[object]:
        server = self._runner.server
        return list(server.connections) if server is not None else []


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is in use by another process" if taken else f"cannot be bound: {error.strerror}"
        raise StartupError(f"http.port = {port}: {host}:{port} {reason}") from error
