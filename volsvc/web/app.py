"""The aiohttp application."""

from __future__ import annotations

from aiohttp import web

from volsvc.web.admission import GATE, TURNS, WORKERS, Gate, Turns, Workers
from volsvc.web.openapi.route import Route
from volsvc.web.openapi.routes import ROUTES, document
from volsvc.web.routes.pages import OPEN_API, STATIC_FILES, OpenApi, StaticFiles
from volsvc.web.server.fast_path import FAST_PATH, FastPath
from volsvc.web.server.middleware import Middleware
from volsvc.web.server.rules import RequestRules
from volsvc.web.services import SERVICES, Services


def create_app(services: Services) -> web.Application:
    """Return the application that serves the daemon's parts over HTTP."""
    http = services.settings.http
    gate = Gate(http.max_inflight)
    rules = RequestRules(services, gate)
    app = web.Application(
        middlewares=[Middleware(services, rules).serve], client_max_size=http.max_body_bytes
    )
    app[SERVICES] = services
    app[GATE] = gate
    app[FAST_PATH] = FastPath(services, rules)
    app[WORKERS] = Workers()
    app[TURNS] = Turns()
    app.on_cleanup.append(_close_workers)
    app[STATIC_FILES] = StaticFiles()
    app[OPEN_API] = OpenApi(document)
    app.add_routes([_definition(route) for route in ROUTES])
    return app


def _definition(route: Route) -> web.RouteDef:
    # Only `web.get` registers HEAD as well.
    if route.method == "get":
        return web.get(route.path, route.handler)
    return web.route(route.method.upper(), route.path, route.handler)


async def _close_workers(app: web.Application) -> None:
    app[WORKERS].close()
