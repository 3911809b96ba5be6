"""The routes of the models: which serve, since when, how well, and how to change that."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import web

from volsvc.domain import format_time, parse_time
from volsvc.models import Model
from volsvc.serving.holder import BASELINE, Serving
from volsvc.web.problems import fault, invalid
from volsvc.web.routes.answers import json_response
from volsvc.web.routes.query import parameter, whole_number
from volsvc.web.schemas.models import ActivateRequest
from volsvc.web.services import SERVICES, Services
from volsvc.web.views import now_text

MOST_ENTRIES = 1000
DEFAULT_ENTRIES = 50


async def models(request: web.Request) -> web.Response:
    """GET /models: what serves, what was asked for, what stands by."""
    return json_response(_state(request.app[SERVICES]))


async def activate(request: web.Request) -> web.Response:
    """PUT /models/active: serve a variant, or one version of it, from the next request on."""
    services = request.app[SERVICES]
    asked = ActivateRequest.model_validate_json(await request.read())
    version = None if asked.version is None else str(asked.version)
    await services.controller.activate(asked.variant, version, "route")
    return json_response(_state(services))


async def rollback(request: web.Request) -> web.Response:
    """POST /models/rollback: serve what served before."""
    services = request.app[SERVICES]
    services.controller.rollback("rollback")
    return json_response(_state(services))


async def history(request: web.Request) -> web.Response:
    """GET /models/history: the newest changes; with `at`, what served at that time."""
    audit_log = request.app[SERVICES].audit_log
    at = parameter(request, "at")
    limit = whole_number(request, "limit", DEFAULT_ENTRIES, MOST_ENTRIES)
    # Files are read and hashed: in a thread, they may be long.
    entries = await asyncio.to_thread(audit_log.newest, limit) if audit_log else []
    answer: dict[str, Any] = {"ts": now_text(), "entries": entries}
    if at is not None:
        try:
            time_ns = parse_time(at)
        except ValueError as error:
            raise invalid([fault("#/at", str(error))]) from error
        past = audit_log is not None and time_ns <= time.time_ns()
        served = await asyncio.to_thread(audit_log.at, time_ns) if audit_log and past else None
        answer |= {"at": format_time(time_ns), "served": served}
    return json_response(answer)


async def quality(request: web.Request) -> web.Response:
    """GET /quality: how our own forecasts turned out, of all symbols or of one."""
    report = request.app[SERVICES].quality_monitor.report(parameter(request, "symbol"))
    return json_response({"ts": now_text(), **report})


def _state(services: Services) -> dict[str, Any]:
    holder = services.holder
    serving, previous, desired = holder.current, holder.previous, holder.desired
    return {
        "ts": now_text(),
        "serving": _serving(serving),
        "previous": previous.name if previous is not None else None,
        "variants": [
            _variant(model, serving, holder.shadow)
            for model in (BASELINE, desired.fitted)
            if model is not None
        ],
        "guard": desired.stopped,
    }


def _serving(serving: Serving) -> dict[str, Any]:
    model = serving.model
    return {
        "model": serving.name,
        "variant": model.variant,
        "version": model.version,
        "digest": model.digest,
        "requested": serving.requested,
        "fallback": serving.fallback,
        "reason": serving.fallback_reason,
    }


def _variant(model: Model, serving: Serving, shadow: Model | None) -> dict[str, Any]:
    state = "serving" if model is serving.model else "shadow" if model is shadow else "held"
    return {
        "variant": model.variant,
        "version": model.version,
        "digest": model.digest,
        "state": state,
    }
