"""Handlers of live symbols: the newest forecasts and the recent history."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from volsvc.pipeline.latest_store import LatestEntry
from volsvc.web.admission import TURNS
from volsvc.web.openapi.routes import MOST_ROWS
from volsvc.web.problems import STALE, ProblemError
from volsvc.web.routes.answers import json_response
from volsvc.web.routes.query import seconds, whole_number
from volsvc.web.services import SERVICES, Services
from volsvc.web.views import Freshness, latest_json, now_text

DEFAULT_HISTORY = 100


async def latest(request: web.Request) -> web.Response:
    """GET /latest/{symbol}: the newest features and forecasts of a symbol."""
    services = request.app[SERVICES]
    posted = services.latest_store.get(request.match_info["symbol"])
    fresh = services.freshness
    return _newest(request, [posted], lambda now_s: latest_json(posted, now_s, fresh), fresh)


def newest(services: Services, symbol: str) -> tuple[bytes, dict[str, str]]:
    """What `latest` answers to who asks for nothing else: body and headers.

    Raises UnknownSymbolError.
    """
    posted, fresh, now_s = services.latest_store.get(symbol), services.freshness, time.time()
    headers = {"Content-Type": "application/json", **_headers(_etag([posted], now_s, fresh))}
    return bytes(latest_json(posted, now_s, fresh)), headers


async def latest_all(request: web.Request) -> web.Response:
    """GET /latest: the newest of every symbol."""
    services = request.app[SERVICES]
    async with request.app[TURNS]:
        latest_store, fresh = list(services.latest_store), services.freshness

        def answer(now_s: float) -> dict[str, Any]:
            symbols = [latest_json(posted, now_s, fresh) for posted in latest_store]
            return {"ts": now_text(), "symbols": symbols}

        return _newest(request, latest_store, answer, fresh)


def _newest(
    request: web.Request,
    latest_store: Sequence[LatestEntry],
    answer: Callable[[float], Any],
    fresh: Freshness,
) -> web.Response:
    """An answer made of what is on the board: 304 if the caller has it, 503 if it is too old."""
    now_s = time.time()
    _check_age(request, latest_store, now_s, fresh)
    etag = _etag(latest_store, now_s, fresh)
    headers = _headers(etag)
    if "If-None-Match" in request.headers and _has(request, etag):
        return web.Response(status=304, headers=headers)
    return json_response(answer(now_s), headers=headers)


def _headers(etag: str) -> dict[str, str]:
    return {"Cache-Control": "no-cache", "ETag": f'W/"{etag}"'}


def _has(request: web.Request, etag: str) -> bool:
    """Whether the caller has this answer already."""
    return any(tag.value in (etag, "*") for tag in request.if_none_match or ())


def _etag(latest_store: Sequence[LatestEntry], now_s: float, fresh: Freshness) -> str:
    """What changes whenever something else is known, or what is known becomes stale.

    It is weak: `ts` and `age_s` move on while all else stays.
    """
    digest = hashlib.blake2b(digest_size=12)
    for posted in latest_store:
        row = posted.snapshot.row
        stale = fresh.stale(posted, now_s)
        digest.update(f"{row.symbol} {row.time_ns} {posted.processed_s!r} {stale};".encode())
    return digest.hexdigest()


def _check_age(
    request: web.Request, latest_store: Sequence[LatestEntry], now_s: float, fresh: Freshness
) -> None:
    most_s = seconds(request, "max_age")
    if most_s is None:
        return
    old = [p for p in latest_store if fresh.age_s(p, now_s) > most_s]
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
            "forecasts": state.forecast_history.forecasts(limit),
            "outcomes": state.forecast_history.outcomes(limit),
        }
        return json_response(answer)
