"""Handlers of the past that the store keeps: minutes, outcomes, the record of models, events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from aiohttp import web
from multidict import CIMultiDict

from volsvc.domain import HORIZON_MINUTES, format_time, is_symbol
from volsvc.features import FLOOR_PER_MINUTE, MINUTE_NS
from volsvc.pipeline.event_hub import KEPT_KINDS
from volsvc.scoring.past_outcomes import FOLLOWING
from volsvc.scoring.scores import DAY_MINUTES, ISSUE_EVERY
from volsvc.scoring.track_record import TrackRecord
from volsvc.store import EventQuery, Minutes, StoreReader
from volsvc.store.columns import Columns
from volsvc.store.event_table import event_columns
from volsvc.store.history import FIELDS, history
from volsvc.store.outcomes import MOST_OF_MINUTE, issued_forecasts, outcomes
from volsvc.web.admission import WORKERS
from volsvc.web.compression import compress
from volsvc.web.problem_types import NOT_KEPT
from volsvc.web.problems import ProblemError, invalid_value
from volsvc.web.routes.answers import json_response
from volsvc.web.routes.query import (
    duration_parameter,
    integer_parameter,
    names_parameter,
    text_parameter,
    time_parameter,
)
from volsvc.web.routes.track_record import EWMA_MINUTES, record_fields
from volsvc.web.services import SERVICES, Services
from volsvc.web.tables import CSV, PARQUET, accepted_format, encode_table
from volsvc.web.views import now_text

DEFAULT_ROWS: Final = 1_440
MAX_ROWS: Final = 10_000
# Of the answer from memory, whose parameter is the same.
MAX_HISTORY: Final = 1_000_000
# Minutes that one answer reads: ten weeks, which take 16 MB and a tenth of a second.
MAX_MINUTES: Final = 100_800
MAX_STEP: Final = 7 * DAY_MINUTES
DEFAULT_EVENTS: Final = 1_000
DEFAULT_DAYS: Final = 30
MAX_DAYS: Final = 366
# Days of all symbols together that one answer reads, some milliseconds each.
MAX_SYMBOL_DAYS: Final = 750


class Page(NamedTuple):
    """Rows of an answer, and the time in ns from which the next one is; None after the last."""

    columns: Columns
    following: int | None


class Range(NamedTuple):
    """Minutes from the epoch, `end` excluded; empty if it is not after `start`."""

    start: int
    end: int


async def minutes(request: web.Request) -> web.Response:
    """GET /history/{symbol} with a range: the minutes of a symbol, or longer steps."""
    media, reader = accepted_format(request), reader_of(request.app[SERVICES])
    step = duration_parameter(request, "step") or 1
    if step > MAX_STEP:
        raise invalid_value("#/step", "must be at most 7d")
    names = names_parameter(request, "fields", FIELDS)
    fields = FIELDS if names is None else tuple(dict.fromkeys(("time", *names)))
    limit = min(integer_parameter(request, "limit", DEFAULT_ROWS, MAX_HISTORY), MAX_ROWS)
    start, end = await _range(request, reader)
    start, end = start - start % step, end + -end % step
    page_end = min(end, start + min(limit, MAX_MINUTES // step) * step)
    symbol = request.match_info["symbol"]
    found = await reader.minutes(symbol, start, page_end + FOLLOWING)
    following = page_end * MINUTE_NS if page_end < end else None

    def page() -> Page:
        return Page(history(found, page_end - 1, step, fields), following)

    return await _respond(request, media, page, {"symbol": symbol, "step_s": 60 * step})


async def past_outcomes(request: web.Request) -> web.Response:
    """GET /outcomes/{symbol}: the matured forecasts of a symbol with their losses."""
    media, reader = accepted_format(request), reader_of(request.app[SERVICES])
    horizon = _horizon(request)
    limit = integer_parameter(request, "limit", DEFAULT_ROWS, MAX_ROWS, MOST_OF_MINUTE)
    start, end = await _range(request, reader)
    # Minutes of which one at least in each is forecast from.
    every = ISSUE_EVERY[horizon] if horizon else 1
    page_end = min(end, start + min(limit * every, MAX_MINUTES))
    symbol = request.match_info["symbol"]
    found = await reader.minutes(symbol, start, page_end + FOLLOWING)
    horizons = (horizon,) if horizon else HORIZON_MINUTES

    def page() -> Page:
        columns, rest = outcomes(found, page_end - 1, horizons, limit)
        following = rest or (page_end if page_end < end else None)
        return Page(columns, following and following * MINUTE_NS)

    return await _respond(request, media, page, {"symbol": symbol})


async def events(request: web.Request) -> web.Response:
    """GET /events: gaps, changes of the model and checks of drift, oldest first."""
    media, reader = accepted_format(request), reader_of(request.app[SERVICES])
    kind = text_parameter(request, "kind")
    if kind not in (None, *KEPT_KINDS):
        raise invalid_value("#/kind", f"must be one of {', '.join(KEPT_KINDS)}")
    symbol = text_parameter(request, "symbol")
    if symbol is not None and not is_symbol(symbol):
        raise invalid_value("#/symbol", "must be the name of a symbol")
    start_ns, end_ns = _times(request)
    limit = integer_parameter(request, "limit", DEFAULT_EVENTS, MAX_ROWS)
    query = EventQuery(limit, start_ns, end_ns, kind, symbol)
    found, following = await reader.events(query)
    # Columns of CSV and Parquet have texts.
    as_text = media in (CSV, PARQUET)

    def page() -> Page:
        return Page(event_columns(found, as_text=as_text), following)

    return await _respond(request, media, page, {})


async def track_record(request: web.Request) -> web.Response:
    """GET /track-record: losses of the models by day, coverage and reliability."""
    reader, workers = reader_of(request.app[SERVICES]), request.app[WORKERS]
    horizon = _horizon(request)
    symbol = text_parameter(request, "symbol")
    symbols = [symbol] if symbol else await reader.symbols()
    most = min(MAX_SYMBOL_DAYS // max(len(symbols), 1), MAX_DAYS)
    if most == 0:
        raise invalid_value("#/symbol", f"must be given: there are {len(symbols)} symbols")
    days = integer_parameter(request, "days", min(DEFAULT_DAYS, most), MAX_DAYS)
    if days > most:
        detail = f"must be at most {most} for {len(symbols)} symbols; or name a symbol"
        raise invalid_value("#/days", detail)
    spans = [await _span(request, reader, name) for name in symbols]
    newest = max((span[1] for span in spans if span is not None), default=0)
    last_day = newest // DAY_MINUTES
    record = TrackRecord(last_day - days + 1, days)
    first = record.first_day * DAY_MINUTES - EWMA_MINUTES
    for name in symbols:
        found = await reader.minutes(name, first, newest)
        await workers.run(partial(_add, record, found))
    horizons = (horizon,) if horizon else HORIZON_MINUTES
    fields = record_fields(record, horizons)
    return json_response({"ts": now_text(), "symbols": symbols, "days": days, "horizons": fields})


def _add(record: TrackRecord, found: Minutes) -> None:
    record.add(issued_forecasts(found), FLOOR_PER_MINUTE)


def reader_of(services: Services) -> StoreReader:
    """Return the reader of the store; raises ProblemError that says why there is none."""
    if services.past is not None:
        return services.past
    settings = services.settings
    check = services.health.checks.get("store")
    if not settings.store.enabled:
        detail = "store.enabled is false; set it to true, and restart"
    elif check is not None and check.status != "ok":
        detail = f"{check.detail}; see the check store in /health, and restart once it is mended"
    else:
        detail = "this process consumes no ticks; see service.roles and source.kind"
    raise ProblemError(NOT_KEPT, detail)


def _horizon(request: web.Request) -> int | None:
    """Return the horizon that is asked for in minutes; None for all."""
    horizon = duration_parameter(request, "horizon")
    if horizon is not None and horizon not in HORIZON_MINUTES:
        known = ", ".join(f"{minutes}m" for minutes in HORIZON_MINUTES)
        raise invalid_value("#/horizon", f"must be one of {known}")
    return horizon


async def _range(request: web.Request, reader: StoreReader) -> Range:
    """Return the range that is asked for, as far as there are rows; raises ProblemError."""
    start_ns, end_ns = _times(request)
    start = None if start_ns is None else start_ns // MINUTE_NS
    span = await _span(request, reader, request.match_info["symbol"], start or 0)
    if span is None:
        return Range(0, 0)
    oldest, newest = span
    end = newest + 1 if end_ns is None else min(-(-end_ns // MINUTE_NS), newest + 1)
    return Range(max(oldest, end - DAY_MINUTES if start is None else start), end)


def _times(request: web.Request) -> tuple[int | None, int | None]:
    """Return start and end in ns; raises ProblemError."""
    start_ns, end_ns = time_parameter(request, "start"), time_parameter(request, "end")
    if start_ns is not None and end_ns is not None and start_ns >= end_ns:
        raise invalid_value("#/end", "must be after start")
    return start_ns, end_ns


async def _span(
    request: web.Request, reader: StoreReader, symbol: str, first: int = 0
) -> tuple[int, int] | None:
    """Return the oldest and newest minute of a symbol from `first` on.

    None if there is none. Raises UnknownSymbolError for a symbol of which nothing is known.
    """
    span = await reader.span(symbol, first) if is_symbol(symbol) else None
    if span is None and (first == 0 or not await reader.span(symbol)):
        # It may be in its first minute.
        request.app[SERVICES].latest_store.get(symbol)
    return span


async def _respond(
    request: web.Request, media: str, derive: Callable[[], Page], envelope: Mapping[str, Any]
) -> web.Response:
    """Answer with a page in a format, derived and encoded in a thread."""
    work = partial(_encode, media, derive, envelope, request.headers)
    body, coding, following = await request.app[WORKERS].run(work)
    headers = CIMultiDict([("Cache-Control", "no-store"), ("Content-Type", media)])
    headers.extend([("Vary", "Accept"), *coding])
    if following is not None:
        target = request.rel_url.update_query(start=following)
        headers["Link"] = f'<{target}>; rel="next"'
    return web.Response(body=body, headers=headers)


def _encode(
    media: str,
    derive: Callable[[], Page],
    envelope: Mapping[str, Any],
    request_headers: Mapping[str, str],
) -> tuple[bytes, Sequence[tuple[str, str]], str | None]:
    """Return a body, the headers of its coding, and the time of the next page."""
    columns, following_ns = derive()
    following = None if following_ns is None else format_time(following_ns)
    content = encode_table(media, columns, {**envelope, "next": following})
    body, coding = compress(content, request_headers)
    # What is not coded here may be on its way out, with the same headers.
    return body, () if body is content else coding, following
