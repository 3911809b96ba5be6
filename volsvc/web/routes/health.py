"""Handlers of health: the state of the daemon's parts, and the probes of orchestrators."""

from __future__ import annotations

from aiohttp import web

from volsvc.web.problems import not_ready
from volsvc.web.routes.answers import json_response
from volsvc.web.services import SERVICES


async def health(request: web.Request) -> web.Response:
    """GET /health: the state of each part; 200 while /predict can answer."""
    state = request.app[SERVICES].health
    body = {"status": state.status, "checks": state.checks}
    return json_response(body, status=503 if state.status == "fail" else 200)


async def live(request: web.Request) -> web.Response:
    """GET /health/live: 200 while the event loop answers."""
    # No part is looked at: a restart, which a failed probe causes, would mend none of them.
    return json_response({"status": "ok", "checks": {}})


async def ready(request: web.Request) -> web.Response:
    """GET /health/ready: 503 while starting or draining, and if a part has failed for good."""
    state = request.app[SERVICES].health
    if state.unready:
        raise not_ready(state.unready)
    return json_response({"status": state.status, "checks": state.checks})


async def startup(request: web.Request) -> web.Response:
    """GET /health/startup: 200 once started, also while draining."""
    state = request.app[SERVICES].health
    if not (state.ready or state.draining):
        raise not_ready("starting")
    return json_response({"status": "ok", "checks": {}})
