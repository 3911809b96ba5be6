"""Handler of GET /stream: Server-Sent Events.

A stream begins with `resync`, which holds the newest of each symbol, unless `Last-Event-ID` names
an event that is still known: then the events after that follow. A client that reads more slowly
than events come gets the newest forecast of each symbol, and `dropped` with the number it did not
get.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from volsvc.domain import is_symbol
from volsvc.pipeline.event_hub import Event, Subscriber
from volsvc.pipeline.latest_store import LatestEntry
from volsvc.telemetry.metrics import Metrics
from volsvc.web.admission import GATE, overloaded
from volsvc.web.headers import add_headers
from volsvc.web.problems import invalid_value
from volsvc.web.routes.query import integer_parameter, text_parameter
from volsvc.web.services import SERVICES, Services
from volsvc.web.views import latest_json, now_text

HEARTBEAT_S = 15.0
RETRY_MS = 2_000
# Clients of a stopping service reconnect at a random time in this range, so that those that are
# left do not get all of them at once.
DRAIN_RETRY_MS = (1_000, 5_000)
MAX_SYMBOLS = 200
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
    limit = integer_parameter(request, "limit", MAX_EVENTS, MAX_EVENTS)
    if len(services.hub) >= services.settings.http.max_streams:
        raise overloaded(f"{len(services.hub)} streams are open", HEARTBEAT_S)
    response = web.StreamResponse(headers=STREAM_HEADERS)
    add_headers(request, response, services.settings.http)
    if request.method == "HEAD":
        return response
    # It lasts, but costs little: it is bounded by max_streams and not by max_inflight.
    request.app[GATE].leave(request.protocol)
    writer = _StreamWriter(response, services, limit)
    subscriber = services.hub.subscribe(symbols)
    services.metrics.http.stream_clients.set(len(services.hub))
    try:
        first = _first_frames(services, subscriber, request.headers.get("Last-Event-ID"))
        await response.prepare(request)
        await writer.run(subscriber, first)
    except ConnectionError:
        # The client has left, or reads nothing: there is nobody to report an error to.
        pass
    finally:
        services.hub.unsubscribe(subscriber)
        services.metrics.http.stream_clients.set(len(services.hub))
    return response


def _symbols(request: web.Request) -> frozenset[str] | None:
    """Return the symbols of the query's filter; None for all."""
    text = text_parameter(request, "symbols")
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not 1 <= len(names) <= MAX_SYMBOLS or not all(is_symbol(name) for name in names):
        raise invalid_value("#/symbols", f"must be 1 to {MAX_SYMBOLS} symbols, with commas")
    return frozenset(names)


def _first_frames(services: Services, subscriber: Subscriber, last_id: str | None) -> list[bytes]:
    """Return the events after `last_id`, or a snapshot if they are not known any more."""
    hub = services.hub
    missed = hub.since(last_id) if last_id is not None else None
    if missed is not None:
        return [encode_event(event, services) for event in missed if subscriber.wants(event)]
    snapshot = {
        "reason": "start" if last_id is None else "unknown-id",
        "ts": now_text(),
        "symbols": _latest_of(services, subscriber.symbols),
    }
    return [_encode_frame("resync", hub.last_id, snapshot)]


def _latest_of(services: Services, symbols: frozenset[str] | None) -> list[msgspec.Raw]:
    """Return the newest of these symbols, or of all for None, in the order of their names."""
    now_s, store = time.time(), services.latest_store
    entries = store if symbols is None else filter(None, map(store.find, sorted(symbols)))
    return [latest_json(entry, now_s, services.freshness) for entry in entries]


def encode_event(event: Event, services: Services) -> bytes:
    """Return the event as it is sent, the same bytes for every subscriber."""
    # Cached in the event: with a thousand streams each event would be encoded a thousand times.
    if event.frame is None:
        payload = event.payload
        if isinstance(payload, LatestEntry):
            payload = latest_json(payload, time.time(), services.freshness)
        event.frame = _encode_frame(event.kind, services.hub.id_of(event.seq), payload)
    return event.frame


def _encode_frame(kind: str, event_id: str | None, payload: Any) -> bytes:
    id_line = b"" if event_id is None else f"id: {event_id}\n".encode()
    # The encoder's JSON has no line breaks, so one `data` line holds all of it.
    return id_line + f"event: {kind}\ndata: ".encode() + _encode(payload) + b"\n\n"


class _StreamWriter:
    """Writes up to `limit` events to one client, until the hub closes or the client leaves."""

    def __init__(self, response: web.StreamResponse, services: Services, limit: int) -> None:
        self._response = response
        self._services = services
        self._remaining = limit

    async def run(self, subscriber: Subscriber, first: Sequence[bytes]) -> None:
        """Write `first`, then events as they come.

        Raises ConnectionError if the client has left, or reads nothing.
        """
        await self._write(f"retry: {RETRY_MS}\n\n".encode())
        await self._send(first)
        while self._remaining and not subscriber.closed:
            events = await subscriber.take(HEARTBEAT_S)
            frames = [encode_event(event, self._services) for event in events]
            await self._write(self._dropped_frame(subscriber) if frames else b": still here\n\n")
            await self._send(frames)
        if subscriber.closed:
            retry = random.randint(*DRAIN_RETRY_MS)
            await self._write(f": the service stops\nretry: {retry}\n\n".encode())
        await self._response.write_eof()

    def _dropped_frame(self, subscriber: Subscriber) -> bytes:
        """Return the event `dropped`, counted in the metrics; empty if nothing was dropped."""
        dropped = subscriber.take_dropped()
        if not dropped.total:
            return b""
        _count_dropped(self._services.metrics, dropped.conflated, dropped.overflowed)
        # Without an id: it is this client's own event, and no position to resume from.
        return _encode_frame("dropped", None, {"dropped": dropped.total})

    async def _send(self, frames: Sequence[bytes]) -> None:
        frames = frames[: self._remaining]
        self._remaining -= len(frames)
        await self._write(b"".join(frames))

    async def _write(self, data: bytes) -> None:
        if data:
            # No deadline: a slow client needs longer for a snapshot than any that makes sense for
            # an event. One that reads nothing is disconnected by the server.
            await self._response.write(data)


def _count_dropped(metrics: Metrics, conflated: int, overflowed: int) -> None:
    metrics.http.stream_dropped.labels("conflated").inc(conflated)
    metrics.http.stream_dropped.labels("overflow").inc(overflowed)
