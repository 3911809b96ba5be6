"""Handlers of the models: the active one, its history, its quality, and how to change it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from volsvc.domain import format_time, parse_time
from volsvc.models import Model
from volsvc.serving.audit_log import AuditLog, AuditLogError
from volsvc.serving.model_choice import BASELINE, Serving
from volsvc.web.problems import invalid_value
from volsvc.web.request_body import read_body, without_mark
from volsvc.web.routes.answers import json_response
from volsvc.web.routes.query import integer_parameter, text_parameter
from volsvc.web.schemas.models import ActivateRequest
from volsvc.web.services import SERVICES, Services
from volsvc.web.views import now_text

DEFAULT_ENTRIES = 50
MAX_ENTRIES = 1_000


async def models(request: web.Request) -> web.Response:
    """GET /models: the active model, the requested one, and those held ready."""
    return json_response(_models_state(request.app[SERVICES]))


async def activate(request: web.Request) -> web.Response:
    """PUT /models/active: activate a variant or one of its versions, from the next request on."""
    services = request.app[SERVICES]
    desired = ActivateRequest.model_validate_json(without_mark(await read_body(request)))
    version = None if desired.version is None else str(desired.version)
    await services.controller.activate(desired.variant, version, "route")
    return json_response(_models_state(services))


async def rollback(request: web.Request) -> web.Response:
    """POST /models/rollback: activate the previous model."""
    services = request.app[SERVICES]
    await services.controller.rollback("rollback")
    return json_response(_models_state(services))


async def history(request: web.Request) -> web.Response:
    """GET /models/history: the newest changes; with `at`, the model that was active then."""
    services = request.app[SERVICES]
    at = text_parameter(request, "at")
    limit = integer_parameter(request, "limit", DEFAULT_ENTRIES, MAX_ENTRIES)
    try:
        entries = await _newest(services.audit_log, limit)
        answer: dict[str, Any] = {"ts": now_text(), "entries": entries}
        if at is not None:
            answer |= await _active_at(services.audit_log, at)
    except AuditLogError as error:
        # The daemon itself reads the log at its start only.
        services.health.report("journal", "degraded", str(error))
        raise
    return json_response(answer)


async def _newest(audit_log: AuditLog | None, limit: int) -> list[Mapping[str, Any]]:
    # In a thread: the files are read and hashed as a whole, and may be long.
    return await asyncio.to_thread(audit_log.newest, limit) if audit_log else []


async def _active_at(audit_log: AuditLog | None, text: str) -> dict[str, Any]:
    """Return the fields about a time, given in RFC 3339; raises ProblemError if it is invalid."""
    try:
        time_ns = parse_time(text)
    except ValueError as error:
        raise invalid_value("#/at", str(error)) from error
    # The future is not known, although the log's last entry would be found for it.
    known = audit_log is not None and time_ns <= time.time_ns()
    served = await asyncio.to_thread(audit_log.at, time_ns) if audit_log and known else None
    return {"at": format_time(time_ns), "served": served}


async def quality(request: web.Request) -> web.Response:
    """GET /quality: live scores of the forecasts, over all symbols or of one."""
    report = request.app[SERVICES].quality_monitor.report(text_parameter(request, "symbol"))
    return json_response({"ts": now_text(), **report})


def _models_state(services: Services) -> dict[str, Any]:
    """Return the fields of schema `ModelsResponse`."""
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
    """Return the fields of schema `ServingModel`."""
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
    """Return the fields of schema `HeldModel`."""
    state = "serving" if model is serving.model else "shadow" if model is shadow else "held"
    return {
        "variant": model.variant,
        "version": model.version,
        "digest": model.digest,
        "state": state,
    }
