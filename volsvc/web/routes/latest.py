"""Handlers of live symbols: the newest forecasts and the recent history."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from volsvc.pipeline.latest_store import LatestEntry
from volsvc.web.admission import TURNS
from volsvc.web.problem_types import STALE_DATA
from volsvc.web.problems import ProblemError
from volsvc.web.routes import past
from volsvc.web.routes.answers import json_response, matches
from volsvc.web.routes.past import MAX_HISTORY
from volsvc.web.routes.query import integer_parameter, seconds_parameter
from volsvc.web.services import SERVICES, Services
from volsvc.web.views import FreshnessPolicy, latest_json, now_text

DEFAULT_HISTORY = 100
# Parameters that ask for the past from the store.
RANGE = frozenset({"start", "end", "step", "fields"})


async def latest(request: web.Request) -> web.Response:
    """GET /latest/{symbol}: the newest features and forecasts of a symbol."""
    services = request.app[SERVICES]
    entry = services.latest_store.get(request.match_info["symbol"])
    freshness, max_age_s = services.freshness, seconds_parameter(request, "max_age")

    def body(now_s: float) -> Any:
        return latest_json(entry, now_s, freshness)

    return _respond(request, [entry], body, freshness, max_age_s)


def latest_body(services: Services, symbol: str) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of `latest` for a request without query and conditional headers.

    Raises UnknownSymbolError.
    """
    entry = services.latest_store.get(symbol)
    freshness, now_s = services.freshness, time.time()
    headers = {
        "Content-Type": "application/json",
        **_cache_headers(_etag([entry], now_s, freshness)),
    }
    return bytes(latest_json(entry, now_s, freshness)), headers


async def latest_all(request: web.Request) -> web.Response:
    """GET /latest: the newest features and forecasts of every symbol."""
    services, max_age_s = request.app[SERVICES], seconds_parameter(request, "max_age")
    # With many symbols the answer takes long: other requests get the loop before it is made.
    async with request.app[TURNS].of(request):
        entries, freshness = list(services.latest_store), services.freshness

        def body(now_s: float) -> dict[str, Any]:
            symbols = [latest_json(entry, now_s, freshness) for entry in entries]
            return {"ts": now_text(), "symbols": symbols}

        return _respond(request, entries, body, freshness, max_age_s)


def _respond(
    request: web.Request,
    entries: Sequence[LatestEntry],
    body: Callable[[float], Any],
    freshness: FreshnessPolicy,
    max_age_s: float | None,
) -> web.Response:
    """Answer from entries of the latest store: 304 if unchanged, 503 if older than `max_age_s`."""
    now_s = time.time()
    # Before the ETag: an unchanged answer that is too old must be 503 and not 304.
    if max_age_s is not None:
        _check_age(entries, now_s, freshness, max_age_s)
    etag = _etag(entries, now_s, freshness)
    headers = _cache_headers(etag)
    if "If-None-Match" in request.headers and matches(request, etag):
        return web.Response(status=304, headers=headers)
    return json_response(body(now_s), headers=headers)


def _cache_headers(etag: str) -> dict[str, str]:
    return {"Cache-Control": "no-cache", "ETag": f'W/"{etag}"'}


def _etag(entries: Sequence[LatestEntry], now_s: float, freshness: FreshnessPolicy) -> str:
    """Return a tag that changes with the entries, and when one of them becomes stale."""
    # Served as a weak tag, because `ts` and `age_s` differ from answer to answer all the same.
    digest = hashlib.blake2b(digest_size=12)
    for entry in entries:
        row = entry.snapshot.row
        stale = freshness.is_stale(entry, now_s)
        digest.update(f"{row.symbol} {row.time_ns} {entry.processed_s!r} {stale};".encode())
    return digest.hexdigest()


def _check_age(
    entries: Sequence[LatestEntry], now_s: float, freshness: FreshnessPolicy, max_age_s: float
) -> None:
    """Raise ProblemError (503) if the oldest entry is older than `max_age_s`."""
    too_old = [entry for entry in entries if freshness.age_s(entry, now_s) > max_age_s]
    if too_old:
        oldest = max(too_old, key=lambda entry: freshness.age_s(entry, now_s))
        detail = f"{oldest.snapshot.row.symbol} is {freshness.age_s(oldest, now_s):.3f} s old"
        raise ProblemError(STALE_DATA, detail, headers={"Retry-After": "1"})


async def history(request: web.Request) -> web.Response:
    """GET /history/{symbol}: the newest feature rows, forecasts and outcomes, oldest first.

    With a range, the minutes of the past.
    """
    if not RANGE.isdisjoint(request.query):
        return await past.minutes(request)
    services = request.app[SERVICES]
    symbol = request.match_info["symbol"]
    limit = integer_parameter(request, "limit", DEFAULT_HISTORY, MAX_HISTORY)
    limit = min(limit, services.settings.features.history)
    state = services.table.get(symbol)
    # A thousand rows take milliseconds. Without turns, a hundred such requests would hold up every
    # other request for seconds.
    async with request.app[TURNS].of(request):
        answer = {
            "symbol": symbol,
            "rows": [row.fields() for row in state.history(limit)],
            "forecasts": state.forecast_history.forecasts(limit),
            "outcomes": state.forecast_history.outcomes(limit),
        }
        return json_response(answer)
