"""The aiohttp application, and the server around it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from importlib.resources import files
from pathlib import Path

import msgspec
from aiohttp import web

from volsvc.config import HttpSettings
from volsvc.domain import StartupError
from volsvc.web import handlers, model_routes, openapi
from volsvc.web.middleware import around
from volsvc.web.services import SERVICES, Services

STATIC = Path(str(files("volsvc.web") / "static"))

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(services: Services) -> web.Application:
    """The application over the daemon's parts."""
    app = web.Application(
        middlewares=[around], client_max_size=services.settings.http.max_body_bytes
    )
    app[SERVICES] = services
    document = msgspec.json.encode(openapi.document())

    async def openapi_json(request: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    async def docs(request: web.Request) -> web.FileResponse:
        return web.FileResponse(STATIC / "docs" / "index.html", headers=PAGE_HEADERS)

    async def root(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/docs"})

    app.add_routes(
        [
            web.post("/predict", handlers.predict),
            web.get("/latest", handlers.latest_all),
            web.get("/latest/{symbol}", handlers.latest),
            web.get("/history/{symbol}", handlers.history),
            web.get("/health", handlers.health),
            web.get("/health/live", handlers.live),
            web.get("/health/ready", handlers.ready),
            web.get("/version", handlers.version),
            web.get("/models", model_routes.models),
            web.put("/models/active", model_routes.activate),
            web.post("/models/rollback", model_routes.rollback),
            web.get("/models/history", model_routes.history),
            web.get("/quality", model_routes.quality),
            web.get("/metrics", handlers.metrics),
            web.get("/openapi.json", openapi_json),
            web.get("/docs", docs),
            web.get("/", root),
            web.static("/docs/assets", STATIC / "docs"),
        ]
    )
    return app


LAME_DUCK_S = 0.5
"""How long a drained server waits for idle connections to be used once more or closed."""


class Server:
    """A bound HTTP server; `close` lets requests in flight finish."""

    def __init__(self, app: web.Application, settings: HttpSettings, grace_s: float) -> None:
        self._settings = settings
        self._grace_s = grace_s
        self._socket: socket.socket | None = None
        self._runner = web.AppRunner(
            app, handle_signals=False, access_log=None, shutdown_timeout=grace_s
        )

    async def start(self) -> str:
        """Bind, and return the base URL; raises StartupError when the address is not free."""
        self._socket = _listen(self._settings.host, self._settings.port)
        await self._runner.setup()
        # The server closes the socket that it is given; ours stays open for the last callers.
        await web.SockSite(self._runner, self._socket.dup()).start()
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def close(self) -> None:
        """Take no more connections, finish what is in flight, and let go."""
        for site in self._runner.sites:
            await site.stop()
        if self._socket is not None:
            await self._take_last_callers(self._socket)
        # A kept-alive connection is told to close by its next answer. It gets a moment for that:
        # closed at once, it might be with a request on its way.
        deadline = time.monotonic() + min(LAME_DUCK_S, self._grace_s)
        while self._open_connections() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await self._runner.cleanup()

    async def _take_last_callers(self, listening: socket.socket) -> None:
        """Accept who has connected already; closing the socket would reset them."""
        loop, factory = asyncio.get_running_loop(), self._runner.server
        listening.setblocking(False)
        with listening, contextlib.suppress(BlockingIOError):
            callers = []
            try:
                while True:
                    callers.append(listening.accept()[0])
            finally:
                listening.close()
                for caller in callers:
                    caller.setblocking(False)
                    if factory is not None:
                        await loop.connect_accepted_socket(factory, caller)

    def _open_connections(self) -> int:
        server = self._runner.server
        return len(server.connections) if server is not None else 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=1_024)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is in use by another process" if taken else f"cannot be bound: {error.strerror}"
        raise StartupError(f"http.port = {port}: {host}:{port} {reason}") from error
