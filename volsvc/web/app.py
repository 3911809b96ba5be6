"""The aiohttp application, and the server around it."""

from __future__ import annotations

import errno
from importlib.resources import files
from pathlib import Path

import msgspec
from aiohttp import web

from volsvc.config import HttpSettings
from volsvc.domain import StartupError
from volsvc.web import handlers, openapi
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
        raise web.HTTPFound("/docs")

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
            web.get("/metrics", handlers.metrics),
            web.get("/openapi.json", openapi_json),
            web.get("/docs", docs),
            web.get("/", root),
            web.static("/docs/assets", STATIC / "docs"),
        ]
    )
    return app


class Server:
    """A bound HTTP server; `close` lets requests in flight finish."""

    def __init__(self, app: web.Application, settings: HttpSettings, grace_s: float) -> None:
        self._settings = settings
        self._runner = web.AppRunner(
            app, handle_signals=False, access_log=None, shutdown_timeout=grace_s
        )

    async def start(self) -> str:
        """Bind, and return the base URL; raises StartupError when the address is not free."""
        host, port = self._settings.host, self._settings.port
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = "is in use by another process" if taken else f"cannot be bound: {error}"
            raise StartupError(f"http.port = {port}: {host}:{port} {reason}") from error
        bound = self._runner.addresses[0]
        name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        return f"http://{name}:{bound[1]}"

    async def close(self) -> None:
        """Take no more connections, finish what is in flight, and let go."""
        await self._runner.cleanup()
