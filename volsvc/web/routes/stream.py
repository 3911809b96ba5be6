"""GET /stream: news as Server-Sent Events.

The first event is `resync` with a snapshot, unless `Last-Event-ID` names an event that is still
known: then what came after it follows. A client that reads more slowly than the news comes gets the
newest forecast of each symbol, and `dropped` says how many it did not get.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from volsvc.domain import is_symbol
from volsvc.pipeline.event_hub import Event, Listener
from volsvc.pipeline.latest_store import LatestEntry
from volsvc.telemetry.metrics import Metrics
from volsvc.web.admission import GATE, overloaded
from volsvc.web.headers import add_headers
from volsvc.web.problems import fault, invalid
from volsvc.web.routes.query import parameter, whole_number
from volsvc.web.services import SERVICES, Services
from volsvc.web.views import latest_json, now_text

HEARTBEAT_S = 15.0
RETRY_MS = 2_000
# Clients of a service that stops come back spread over this time.
DRAIN_RETRY_MS = (1_000, 5_000)
MAX_FILTER = 200
MAX_EVENTS = 1_000_000
STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}
_encode = msgspec.json.Encoder().encode


async def stream(request: web.Request) -> web.StreamResponse:
    """GET /stream: forecasts, gaps, model changes and drift as they come."""
    services = request.app[SERVICES]
    symbols = _symbols(request)
    most = whole_number(request, "limit", MAX_EVENTS, MAX_EVENTS)
    if len(services.hub) >= services.settings.http.max_streams:
        raise overloaded(f"{len(services.hub)} streams are open", HEARTBEAT_S)
    response = web.StreamResponse(headers=STREAM_HEADERS)
    add_headers(request, response, services.settings.http)
    if request.method == "HEAD":
        return response
    # It lasts, but costs little: it is bounded by max_streams and not by max_inflight.
    request.app[GATE].left(request.protocol)
    writer = _Writer(response, services, most)
    listener = services.hub.listen(symbols)
    services.metrics.stream_clients.set(len(services.hub))
    try:
        first = _opening(services, listener, request.headers.get("Last-Event-ID"))
        await response.prepare(request)
        await writer.run(listener, first)
    except (ConnectionError, TimeoutError):
        pass  # The client is gone, or reads nothing: the heartbeat comes too late to matter.
    finally:
        services.hub.leave(listener)
        services.metrics.stream_clients.set(len(services.hub))
    return response


def _symbols(request: web.Request) -> frozenset[str] | None:
    """The symbols that are asked for; None for all."""
    given = parameter(request, "symbols")
    if given is None:
        return None
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not 1 <= len(names) <= MAX_FILTER or not all(is_symbol(name) for name in names):
        raise invalid([fault("#/symbols", f"must name 1 to {MAX_FILTER} symbols with commas")])
    return frozenset(names)


def _opening(services: Services, listener: Listener, last_id: str | None) -> list[bytes]:
    """What a client has to know before news: what it missed, or everything."""
    hub = services.hub
    missed = hub.since(last_id) if last_id is not None else None
    if missed is not None:
        return [frame_of(event, services) for event in missed if listener.wants(event)]
    snapshot = {
        "reason": "start" if last_id is None else "unknown-id",
        "ts": now_text(),
        "symbols": _snapshot(services, listener),
    }
    return [_frame("resync", hub.last_id, snapshot)]


def _snapshot(services: Services, listener: Listener) -> list[msgspec.Raw]:
    now_s, latest_store = time.time(), services.latest_store
    wanted = listener.symbols
    posted = (
        latest_store if wanted is None else filter(None, map(latest_store.find, sorted(wanted)))
    )
    return [latest_json(one, now_s, services.freshness) for one in posted]


def frame_of(event: Event, services: Services) -> bytes:
    """The event as it goes over the wire; the same bytes for every listener."""
    if event.frame is None:
        payload = event.payload
        if isinstance(payload, LatestEntry):
            payload = latest_json(payload, time.time(), services.freshness)
        event.frame = _frame(event.kind, services.hub.id_of(event.seq), payload)
    return event.frame


def _frame(kind: str, event_id: str | None, payload: Any) -> bytes:
    named = b"" if event_id is None else f"id: {event_id}\n".encode()
    # JSON holds no line breaks, so that one `data` line holds all of it.
    return named + f"event: {kind}\ndata: ".encode() + _encode(payload) + b"\n\n"


class _Writer:
    """Writes to one client until the hub closes, the client leaves, or it has had enough."""

    def __init__(self, response: web.StreamResponse, services: Services, most: int) -> None:
        self._response = response
        self._services = services
        self._left = most

    async def run(self, listener: Listener, first: Sequence[bytes]) -> None:
        """Raises ConnectionError or TimeoutError when the client does not take what is written."""
        await self._write(f"retry: {RETRY_MS}\n\n".encode())
        await self._send(first)
        while self._left and not listener.closed:
            events = await listener.take(HEARTBEAT_S)
            frames = [frame_of(event, self._services) for event in events]
            await self._write(self._dropped(listener) if frames else b": still here\n\n")
            await self._send(frames)
        if listener.closed:
            retry = random.randint(*DRAIN_RETRY_MS)
            await self._write(f": the service stops\nretry: {retry}\n\n".encode())
        await self._response.write_eof()

    def _dropped(self, listener: Listener) -> bytes:
        missed = listener.take_missed()
        if not missed.total:
            return b""
        _count_dropped(self._services.metrics, missed.conflated, missed.overflown)
        return _frame("dropped", None, {"dropped": missed.total})

    async def _send(self, frames: Sequence[bytes]) -> None:
        taken = frames[: self._left]
        self._left -= len(taken)
        await self._write(b"".join(taken))

    async def _write(self, data: bytes) -> None:
        if data:
            # A client that reads nothing is let go; its reconnection gets it what is new.
            async with asyncio.timeout(2 * HEARTBEAT_S):
                await self._response.write(data)


def _count_dropped(metrics: Metrics, conflated: int, overflown: int) -> None:
    metrics.stream_dropped.labels("conflated").inc(conflated)
    metrics.stream_dropped.labels("overflow").inc(overflown)
