"""The HTTP server: binds, checks its connections for slow clients, and drains."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time

from aiohttp import web

from volsvc.config.http import HttpSettings
from volsvc.domain import StartupError
from volsvc.telemetry.logs import get_logger
from volsvc.web.admission import GATE
from volsvc.web.server.acceptor import BACKLOG, Acceptor
from volsvc.web.server.connection import CHECK_S, Connection, ConnectionContext
from volsvc.web.server.fast_path import FAST_PATH
from volsvc.web.server.open_files import most_connections
from volsvc.web.services import SERVICES

# How long a drained server waits for idle connections to be used once more or closed.
IDLE_DRAIN_S = 0.5

log = get_logger(__name__)


class Server:
    """A bound HTTP server; `close` finishes requests in flight."""

    def __init__(self, app: web.Application, settings: HttpSettings, grace_s: float) -> None:
        """Prepare to serve; raises StartupError if the certificate or its key cannot be used."""
        self._settings = settings
        self._grace_s = grace_s
        self._gate = app[GATE]
        self._fast_path = app[FAST_PATH]
        self._metrics = app[SERVICES].metrics
        self._health = app[SERVICES].health
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if settings.tls else None
        self.reload_certificate(settings)
        self._acceptor: Acceptor | None = None
        self._max_connections = settings.max_connections
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
        listening = _listen(self._settings.host, self._settings.port)
        await self._runner.setup()
        self._limit_connections()
        self._acceptor = Acceptor(
            listening,
            self._connection,
            lambda handshakes: len(self._connections()) + handshakes < self._max_connections,
            self._tls,
            self._settings.header_timeout_s,
        )
        self._acceptor.start()
        self._checking = asyncio.create_task(self._check_connections(), name="connections")
        host, port = listening.getsockname()[:2]
        scheme = "https" if self._tls else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def close(self) -> None:
        """Stop accepting connections, finish requests in flight, and close."""
        drain_s = min(IDLE_DRAIN_S, self._grace_s)
        if self._acceptor is not None:
            await self._acceptor.close(drain_s)
        # A kept-alive connection is told to close by its next answer. It gets a moment for that:
        # closed at once, it might be with a request on its way.
        deadline = time.monotonic() + drain_s
        while self._connections() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await self._runner.cleanup()
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait({self._checking})

    def _connection(self) -> Connection:
        server = self._runner.server
        assert server is not None, "set up before it listens"
        return Connection(
            ConnectionContext(
                server, self._gate, self._fast_path, self._settings, self._max_connections
            )
        )

    def _limit_connections(self) -> None:
        """Allow no more connections than files: beyond, new clients would wait for nothing."""
        wanted = self._settings.max_connections
        self._max_connections = most_connections(wanted)
        if self._max_connections == wanted:
            self._health.report("connections", "ok")
            return
        detail = (
            f"http.max_connections = {wanted}: lowered to {self._max_connections} by the limit on "
            "open files; raise it (ulimit -n, LimitNOFILE) or set fewer"
        )
        self._health.report("connections", "degraded", detail)
        log.warning("max_connections_lowered", wanted=wanted, allowed=self._max_connections)

    async def _check_connections(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            now_s = time.monotonic()
            connections = self._connections()
            handshakes = self._acceptor.handshakes if self._acceptor is not None else 0
            self._metrics.http.connections.set(len(connections) + handshakes)
            for connection in connections:
                if isinstance(connection, Connection):
                    connection.check(now_s)

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
