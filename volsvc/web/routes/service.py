"""Handlers about the service itself: version, metrics and problem types."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client.exposition import choose_encoder

import volsvc
from volsvc.models import SCHEMA_VERSION
from volsvc.web.problem_types import NOT_FOUND, PROBLEM_TYPES
from volsvc.web.problems import ProblemError
from volsvc.web.routes.answers import json_response
from volsvc.web.services import SERVICES


async def version(request: web.Request) -> web.Response:
    """GET /version: the active model and the build."""
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
    """GET /metrics: Prometheus' text format or OpenMetrics; `name[]` selects series."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    registry = request.app[SERVICES].metrics.registry
    names = request.query.getall("name[]", ())
    selected = registry.restricted_registry(names) if names else registry
    # In a thread: with ten thousand symbols it takes more than a second.
    body = await asyncio.to_thread(encode, selected)
    return web.Response(body=body, headers={"Content-Type": content_type})


async def problem_type(request: web.Request) -> web.Response:
    """GET /problems/{slug}: the meaning of a problem type, and its remedy."""
    found = PROBLEM_TYPES.get(request.match_info["slug"])
    if found is None:
        raise ProblemError(NOT_FOUND, "there is no problem type of this name")
    return json_response(
        {
            "type": f"/problems/{found.slug}",
            "title": found.title,
            "status": found.status,
            "remedy": found.remedy,
        }
    )
