"""What the routes do that read what is known: live symbols, and the service itself."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client.exposition import choose_encoder

import volsvc
from volsvc.board import Posted
from volsvc.models import SCHEMA_VERSION
from volsvc.web.admission import TURNS
from volsvc.web.compression import GZIP_ELSEWHERE
from volsvc.web.openapi import MOST_ROWS
from volsvc.web.problems import KINDS, NOT_FOUND, NOT_READY, STALE, ProblemError
from volsvc.web.query import seconds, whole_number
from volsvc.web.services import SERVICES, Services
from volsvc.web.views import Freshness, latest_json, now_text

DEFAULT_HISTORY = 100


def json_response(value: Any, **options: Any) -> web.Response:
    """An answer in JSON that nobody may keep."""
    headers = {
        "Cache-Control": "no-store",
        "Content-Type": "application/json",
        **options.pop("headers", {}),
    }
    body = msgspec.json.encode(value)
    return web.Response(body=body, headers=headers, zlib_executor_size=GZIP_ELSEWHERE, **options)


# --- live symbols -------------------------------------------------------------------------


async def latest(request: web.Request) -> web.Response:
    """GET /latest/{symbol}: the newest features and forecasts of a symbol."""
    services = request.app[SERVICES]
    posted = services.board.get(request.match_info["symbol"])
    fresh = services.freshness
    return _newest(request, [posted], lambda now_s: latest_json(posted, now_s, fresh), fresh)


def newest(services: Services, symbol: str) -> tuple[bytes, dict[str, str]]:
    """What `latest` answers to who asks for nothing else: body and headers.

    Raises UnknownSymbolError.
    """
    posted, fresh, now_s = services.board.get(symbol), services.freshness, time.time()
    headers = {"Content-Type": "application/json", **_headers(_etag([posted], now_s, fresh))}
    return bytes(latest_json(posted, now_s, fresh)), headers


async def latest_all(request: web.Request) -> web.Response:
    """GET /latest: the newest of every symbol."""
    services = request.app[SERVICES]
    async with request.app[TURNS]:
        board, fresh = list(services.board), services.freshness

        def answer(now_s: float) -> dict[str, Any]:
            symbols = [latest_json(posted, now_s, fresh) for posted in board]
            return {"ts": now_text(), "symbols": symbols}

        return _newest(request, board, answer, fresh)


def _newest(
    request: web.Request,
    board: Sequence[Posted],
    answer: Callable[[float], Any],
    fresh: Freshness,
) -> web.Response:
    """An answer made of what is on the board: 304 if the caller has it, 503 if it is too old."""
    now_s = time.time()
    _check_age(request, board, now_s, fresh)
    etag = _etag(board, now_s, fresh)
    headers = _headers(etag)
    if "If-None-Match" in request.headers and _has(request, etag):
        return web.Response(status=304, headers=headers)
    return json_response(answer(now_s), headers=headers)


def _headers(etag: str) -> dict[str, str]:
    return {"Cache-Control": "no-cache", "ETag": f'W/"{etag}"'}


def _has(request: web.Request, etag: str) -> bool:
    """Whether the caller has this answer already."""
    return any(tag.value in (etag, "*") for tag in request.if_none_match or ())


def _etag(board: Sequence[Posted], now_s: float, fresh: Freshness) -> str:
    """What changes whenever something else is known, or what is known becomes stale.

    It is weak: `ts` and `age_s` move on while all else stays.
    """
    digest = hashlib.blake2b(digest_size=12)
    for posted in board:
        row = posted.snapshot.row
        stale = fresh.stale(posted, now_s)
        digest.update(f"{row.symbol} {row.time_ns} {posted.processed_s!r} {stale};".encode())
    return digest.hexdigest()


def _check_age(
    request: web.Request, board: Sequence[Posted], now_s: float, fresh: Freshness
) -> None:
    most_s = seconds(request, "max_age")
    if most_s is None:
        return
    old = [p for p in board if fresh.age_s(p, now_s) > most_s]
    if old:
        worst = max(old, key=lambda p: fresh.age_s(p, now_s))
        detail = f"{worst.snapshot.row.symbol} is {fresh.age_s(worst, now_s):.3f} s old"
        raise ProblemError(STALE, detail, headers={"Retry-After": "1"})


async def history(request: web.Request) -> web.Response:
    """GET /history/{symbol}: the newest feature rows, forecasts and outcomes, oldest first."""
    services = request.app[SERVICES]
    symbol = request.match_info["symbol"]
    limit = whole_number(request, "limit", DEFAULT_HISTORY, MOST_ROWS)
    limit = min(limit, services.settings.features.history)
    state = services.table.get(symbol)
    async with request.app[TURNS]:
        answer = {
            "symbol": symbol,
            "rows": [row.fields() for row in state.history.newest(limit, symbol)],
            "forecasts": state.trail.forecasts(limit),
            "outcomes": state.trail.outcomes(limit),
        }
        return json_response(answer)


# --- the service itself -------------------------------------------------------------------


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
