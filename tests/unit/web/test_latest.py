"""Answers about live symbols: bodies, tags, the oldest age a client accepts, and histories."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from tests.applied import apply
from tests.variations import FORECAST, SNAPSHOT
from volsvc.config.settings import load_settings
from volsvc.daemon.parts import build_parts
from volsvc.domain import NS, IssuedForecast, Outcome, Tick, UnknownSymbolError, parse_time
from volsvc.web.admission import TURNS, Turns
from volsvc.web.problem_types import STALE_DATA
from volsvc.web.problems import ProblemError
from volsvc.web.routes.latest import history, latest, latest_all, latest_body
from volsvc.web.services import SERVICES, Services

Handler = Callable[[web.Request], Awaitable[web.Response]]
STALE_AFTER_S = 60.0
TAG = re.compile(r'W/"[0-9a-f]{24}"')


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """The parts of a service that has not been started, with two symbols."""
    monkeypatch.chdir(tmp_path)
    given = {"source": {"kind": "none"}, "model": {"variant": "baseline"}}
    services = build_parts(load_settings(None, given)).services
    put(services, "A", 10.0)
    put(services, "B", 5.0)
    return services


def put(services: Services, symbol: str, age_s: float, more_ns: int = 0) -> None:
    """Store a snapshot that was processed some seconds ago."""
    row = SNAPSHOT.row._replace(symbol=symbol, time_ns=SNAPSHOT.row.time_ns + more_ns)
    services.latest_store.put(replace(SNAPSHOT, row=row), time.time() - age_s)


async def ask(
    services: Services, handler: Handler, symbol: str = "", query: str = "", **headers: str
) -> web.Response:
    """Return the answer of a handler; `_` in the names of headers stands for `-`."""
    app = web.Application()
    app[SERVICES] = services
    app[TURNS] = Turns()
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    match = {"symbol": symbol} if symbol else {}
    return await handler(make_mocked_request("GET", f"/x{query}", given, match_info=match, app=app))


def content(answer: web.Response) -> Any:
    assert answer.status == 200
    assert isinstance(answer.body, bytes)
    return json.loads(answer.body)


def check(shown: dict[str, Any], symbol: str, age_s: float, *, stale: bool = False) -> None:
    """Compare what is shown of a symbol with its snapshot."""
    assert (shown["symbol"], shown["stale"], shown["price"]) == (symbol, stale, 100.0)
    assert shown["as_of"].startswith("2026-01-05T00:00:01")
    assert age_s <= shown["age_s"] < age_s + 30
    assert abs(parse_time(shown["ts"]) / NS - time.time()) < 30


async def test_one_symbol(services: Services) -> None:
    """The fast and the ordinary way give the same fields and headers."""
    answer = await ask(services, latest, "A")
    body, headers = latest_body(services, "A")
    check(content(answer), "A", 10.0)
    check(json.loads(body), "A", 10.0)
    assert dict(answer.headers) == headers
    assert set(headers) == {"Cache-Control", "Content-Type", "ETag"}
    assert (headers["Cache-Control"], headers["Content-Type"]) == ("no-cache", "application/json")
    assert TAG.fullmatch(headers["ETag"])
    with pytest.raises(UnknownSymbolError):
        latest_body(services, "C")
    with pytest.raises(UnknownSymbolError):
        await ask(services, latest, "C")


async def test_all_symbols(services: Services) -> None:
    """All symbols come in the order of their names, with the time of the answer."""
    answer = content(await ask(services, latest_all))
    assert list(answer) == ["ts", "symbols"]
    assert abs(parse_time(answer["ts"]) / NS - time.time()) < 30
    for shown, symbol, age_s in zip(answer["symbols"], "AB", (10.0, 5.0), strict=True):
        check(shown, symbol, age_s)


async def test_the_tag_changes_with_what_is_shown(services: Services) -> None:
    """A tag stays while nothing changes; a new tick or staleness gives another."""

    async def tags() -> tuple[str, str, str]:
        answers = [await ask(services, latest, symbol) for symbol in "AB"]
        answers.append(await ask(services, latest_all))
        one, other, every = (answer.headers["ETag"] for answer in answers)
        assert [latest_body(services, s)[1]["ETag"] for s in "AB"] == [one, other]
        return one, other, every

    first = await tags()
    assert len(set(first)) == 3
    assert await tags() == first
    services.health.silent.add("B")
    second = await tags()
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, False]
    check(content(await ask(services, latest, "B")), "B", 5.0, stale=True)
    check(json.loads(latest_body(services, "B")[0]), "B", 5.0, stale=True)
    put(services, "A", 0.0, more_ns=1)
    third = await tags()
    assert [a == b for a, b in zip(second, third, strict=True)] == [False, True, False]


async def test_an_entry_becomes_stale_with_time(services: Services) -> None:
    """An entry older than the settings allow is shown as stale by both ways."""
    put(services, "A", STALE_AFTER_S + 10)
    check(content(await ask(services, latest, "A")), "A", STALE_AFTER_S + 10, stale=True)
    check(json.loads(latest_body(services, "A")[0]), "A", STALE_AFTER_S + 10, stale=True)


async def test_what_the_client_has_is_not_sent_again(services: Services) -> None:
    """The tag, or any, is 304 with the same headers; another tag is answered in full."""
    whole = await ask(services, latest, "A")
    tag = whole.headers["ETag"]
    for known in (tag, f'"other", {tag}', "*"):
        answer = await ask(services, latest, "A", If_None_Match=known)
        assert (answer.status, answer.body) == (304, None)
        assert dict(answer.headers) == {"Cache-Control": "no-cache", "ETag": tag}
    answer = await ask(services, latest, "A", If_None_Match='"other"')
    assert dict(answer.headers) == dict(whole.headers)
    check(content(answer), "A", 10.0)


async def test_too_old_for_the_client(services: Services) -> None:
    """An entry older than `max_age` is 503 and named, the oldest of all, even if known."""
    tag = (await ask(services, latest_all)).headers["ETag"]
    asked: tuple[tuple[Handler, str, dict[str, str]], ...] = (
        (latest, "A", {}),
        (latest_all, "", {}),
        (latest_all, "", {"If_None_Match": tag}),
    )
    for handler, symbol, headers in asked:
        with pytest.raises(ProblemError) as caught:
            await ask(services, handler, symbol, "?max_age=4.5", **headers)
        assert caught.value.type is STALE_DATA
        assert caught.value.headers == {"Retry-After": "1"}
        assert re.fullmatch(r"A is [1-3]\d\.\d{3} s old", caught.value.detail)
    assert (await ask(services, latest_all, query="?max_age=600")).status == 200
    # Of a clock that is ahead: the age is exactly zero.
    put(services, "A", -600.0)
    assert (await ask(services, latest, "A", "?max_age=0")).status == 200


async def test_the_history_of_a_symbol(services: Services) -> None:
    """The newest rows, forecasts and outcomes, as many as asked for, oldest first."""
    for step in range(4):
        apply(services.table, Tick("A", SNAPSHOT.row.time_ns + step * NS, 100.0 + step / 10))
    state = services.table.get("A")
    issued = IssuedForecast("A", "ml", "1", 0, 5, 1e-3, 1e-4, 2e-3, 1e-3, 0.2)
    state.forecast_history.add_forecast(FORECAST)
    state.forecast_history.add_outcome(Outcome(issued, 1.5e-3, 0.1, covered=True, brier=0.04))
    answer = await ask(services, history, "A", "?limit=3")
    shown = content(answer)
    assert list(shown) == ["symbol", "rows", "forecasts", "outcomes"]
    assert shown["symbol"] == "A"
    rows = [(row["symbol"], row["price"]) for row in shown["rows"]]
    assert rows == [("A", 100.1), ("A", 100.2), ("A", 100.3)]
    assert shown["forecasts"] == state.forecast_history.forecasts(1)
    assert shown["outcomes"] == state.forecast_history.outcomes(1)
    assert answer.headers["Cache-Control"] == "no-store"
