"""The aiohttp application: routes, and what stands around them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import msgspec
from aiohttp import web

from volsvc.web.admission import GATE, TURNS, WORKERS, Gate, Turns, Workers
from volsvc.web.auth.access import Access
from volsvc.web.openapi import routes as openapi
from volsvc.web.routes import drift as drift_routes
from volsvc.web.routes import models as model_routes
from volsvc.web.routes import service
from volsvc.web.routes.latest import history, latest, latest_all
from volsvc.web.routes.pages import files_of, page_of
from volsvc.web.routes.predict import predict
from volsvc.web.routes.stream import stream
from volsvc.web.server.fast_path import FAST_PATH, FastPath
from volsvc.web.server.middleware import Around
from volsvc.web.services import SERVICES, Services

STATIC = Path(str(files("volsvc.web") / "static"))


def create_app(services: Services) -> web.Application:
    """The application over the daemon's parts."""
    http = services.settings.http
    gate, access = Gate(http.max_inflight), Access(services.keyring, services.metrics)
    app = web.Application(
        middlewares=[Around(services, gate, access).serve], client_max_size=http.max_body_bytes
    )
    app[SERVICES] = services
    app[GATE] = gate
    app[FAST_PATH] = FastPath(services, gate, access)
    app[WORKERS] = Workers()
    app[TURNS] = Turns()
    app.on_cleanup.append(_close_workers)
    document = msgspec.json.encode(openapi.document())

    async def openapi_json(request: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    app.add_routes(
        [
            web.post("/predict", predict),
            web.get("/latest", latest_all),
            web.get("/latest/{symbol}", latest),
            web.get("/history/{symbol}", history),
            web.get("/stream", stream),
            web.get("/health", service.health),
            *(web.get(path, service.live) for path in openapi.LIVE_PATHS),
            *(web.get(path, service.ready) for path in openapi.READY_PATHS),
            web.get("/health/startup", service.startup),
            web.get("/version", service.version),
            web.get("/models", model_routes.models),
            web.put("/models/active", model_routes.activate),
            web.post("/models/rollback", model_routes.rollback),
            web.get("/models/history", model_routes.history),
            web.get("/quality", model_routes.quality),
            web.get("/drift", drift_routes.drift),
            web.get("/drift/report", drift_routes.report),
            web.get("/metrics", service.metrics),
            web.get("/problems/{slug}", service.problem_kind),
            web.get("/openapi.json", openapi_json),
            web.get("/docs", page_of(STATIC / "docs" / "index.html")),
            web.get("/docs/assets/{name}", files_of(STATIC / "docs")),
            web.get("/", page_of(STATIC / "page" / "index.html")),
            web.get("/assets/{name}", files_of(STATIC / "page")),
        ]
    )
    return app


async def _close_workers(app: web.Application) -> None:
    app[WORKERS].close()
