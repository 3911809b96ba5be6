"""What the routes do that read what is known: live symbols, and the service itself."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client.exposition import choose_encoder

import volsvc
from volsvc.models import SCHEMA_VERSION
from volsvc.web.problems import KINDS, NOT_FOUND, NOT_READY, ProblemError
from volsvc.web.routes.answers import json_response
from volsvc.web.services import SERVICES


async def health(request: web.Request) -> web.Response:
    """GET /health: what works and what does not; 200 while /predict answers."""
    state = request.app[SERVICES].health
    body = {"status": state.status, "checks": state.checks}
    return json_response(body, status=503 if state.status == "fail" else 200)


async def live(request: web.Request) -> web.Response:
    """GET /health/live: the event loop answers."""
    return json_response({"status": "ok", "checks": {}})


async def ready(request: web.Request) -> web.Response:
    """GET /health/ready: started and not draining."""
    state = request.app[SERVICES].health
    if not state.ready or state.draining:
        detail = "draining" if state.draining else "starting"
        raise ProblemError(NOT_READY, detail, headers={"Retry-After": "1"})
    return json_response({"status": "ok", "checks": {}})


async def startup(request: web.Request) -> web.Response:
    """GET /health/startup: it has started, whatever came after."""
    state = request.app[SERVICES].health
    if not (state.ready or state.draining):
        raise ProblemError(NOT_READY, "starting", headers={"Retry-After": "1"})
    return json_response({"status": "ok", "checks": {}})


async def problem_kind(request: web.Request) -> web.Response:
    """GET /problems/{slug}: what a kind of problem means, and what to do about it."""
    kind = KINDS.get(request.match_info["slug"])
    if kind is None:
        raise ProblemError(NOT_FOUND, "no problem is called so")
    fields = {"type": f"/problems/{kind.slug}", "title": kind.title, "status": kind.status}
    return json_response({**fields, "remedy": kind.remedy})


async def version(request: web.Request) -> web.Response:
    """GET /version: what serves, and which build."""
    services = request.app[SERVICES]
    serving = services.holder.current
    return json_response(
        {
            "model": serving.name,
            "sha": services.settings.service.git_sha,
            "version": volsvc.__version__,
            "model_digest": serving.model.digest,
            "requested": serving.requested,
            "fallback": serving.fallback_reason,
            "schema_version": SCHEMA_VERSION,
        }
    )


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics: Prometheus' text format, or OpenMetrics; with `name[]` those series alone."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    registry = request.app[SERVICES].metrics.registry
    names = request.query.getall("name[]", ())
    wanted = registry.restricted_registry(names) if names else registry
    # Of ten thousand symbols it takes a second and more.
    body = await asyncio.to_thread(encode, wanted)
    return web.Response(body=body, headers={"Content-Type": content_type})
