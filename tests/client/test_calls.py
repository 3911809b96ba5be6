"""Tests of the calls of both clients against the answers to plain requests."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.client.scripted import Reply, scripted
from tests.daemon import RunningDaemon, eventually
from tests.web.serving import ROW, serving
from tests.web.test_auth import AUTH, CALLER, READER, STRANGER
from volsvc.client import (
    AsyncClient,
    Client,
    ClientError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    Retries,
    Row,
    StaleDataError,
    UnauthorizedError,
    UnexpectedAnswerError,
    calls,
)

ONCE = Retries(attempts=1)
PLAIN = {
    "latest_all": "/latest",
    "health": "/health",
    "version": "/version",
    "models": "/models",
    "model_history": "/models/history",
    "quality": "/quality",
    "drift": "/drift",
}
MOVING = {"ts", "age_s"}


def still(value: Any) -> Any:
    """Return an answer without fields that depend on the clock."""
    if isinstance(value, dict):
        return {name: still(part) for name, part in value.items() if name not in MOVING}
    return [still(part) for part in value] if isinstance(value, list) else value


async def test_answers_are_complete(daemon: RunningDaemon) -> None:
    """Each answer has every field of the JSON, in the types of the schemas."""
    async with AsyncClient(daemon.url, retries=ONCE) as client:
        for name, path in PLAIN.items():
            answer = await getattr(client, name)()
            assert still(answer.model_dump(exclude_unset=True)) == still(await daemon.get(path))
        latest = await client.latest("BTC-USD")
        assert still(latest.model_dump()) == still(await daemon.get("/latest/BTC-USD"))
        history = await client.history("BTC-USD", limit=3)
        assert history.model_dump() == await daemon.get("/history/BTC-USD?limit=3")


async def test_the_past(daemon: RunningDaemon) -> None:
    """Minutes, outcomes and the record come from the store, the same in both clients."""

    async def written() -> bool:
        page = await daemon.get("/history/BTC-USD?step=1m")
        return len(page.get("rows", ())) == 5

    await eventually(written, 20, "the minutes are in the store")
    async with AsyncClient(daemon.url, retries=ONCE) as client:
        page = await client.minutes("BTC-USD", limit=4)
        assert page.model_dump() == await daemon.get("/history/BTC-USD?step=1m&limit=4")
        rest = await client.minutes("BTC-USD", start=page.next)
        assert (len(page.rows), len(rest.rows), rest.next) == (4, 1, None)
        some = await client.minutes("BTC-USD", step="5m", fields=["close", "realised"], limit=1)
        assert some.rows[0].model_fields_set == {"time", "close", "realised"}
        outcomes = await client.outcomes("BTC-USD", horizon=60)
        assert outcomes.model_dump() == await daemon.get("/outcomes/BTC-USD?horizon=1m")
        record = await client.track_record(symbol="BTC-USD", days=1)
        assert still(record.model_dump()) == still(
            await daemon.get("/track-record?symbol=BTC-USD&days=1")
        )
        assert record.horizons[0].total.n == len(outcomes.rows) / 2 > 0
        events = await client.events(kind="model", limit=5)
        assert events.model_dump() == await daemon.get("/events?kind=model&limit=5")
        assert [row.fields["kind"] for row in events.rows][:1] == ["start"]
        with pytest.raises(InvalidRequestError, match="whole minutes"):
            await client.minutes("BTC-USD", step=90)

    def use() -> None:
        with Client(daemon.url, retries=ONCE) as client:
            assert client.minutes("BTC-USD", limit=4) == page
            assert client.outcomes("BTC-USD", horizon="1m") == outcomes
            assert client.events(kind="model", start="2010-01-01T00:00Z", limit=5) == events
            assert client.track_record(symbol="BTC-USD", days=1).horizons == record.horizons

    await asyncio.to_thread(use)


async def test_metrics(daemon: RunningDaemon) -> None:
    """Metrics are returned as text, all or those with the given names."""
    async with AsyncClient(daemon.url, retries=ONCE) as client:
        some = (await client.metrics("volsvc_ready", "volsvc_health_status")).text
        names = {re.split(r"[ {]", line)[0] for line in some.splitlines() if line[0] != "#"}
        assert names == {"volsvc_ready", "volsvc_health_status"}
        assert "volsvc_ticks_total" in (await client.metrics()).text


async def test_predictions(daemon: RunningDaemon) -> None:
    """Rows as objects, as mappings and from published features give the service's own answer."""
    async with AsyncClient(daemon.url) as client:
        answer = await client.predict([ROW, Row(ret_mean=0.05, ret_std=0.01, n=50)])
        _, plain = await daemon.predict(rows=[ROW])
        assert answer.scores == plain["scores"] * 2
        latest = await client.latest("ETH-USD")
        row = Row(
            ret_mean=latest.ret_mean,
            ret_std=latest.ret_std,
            n=latest.n,
            symbol="ETH-USD",
            ts=latest.as_of,
            features=latest.features,
        )
        again = (await client.predict([row], horizon_s=3600)).predictions[0]
    assert again is not None
    assert again.sigma == pytest.approx(latest.predictions[-1].sigma, rel=1e-9)


async def test_the_blocking_client(daemon: RunningDaemon) -> None:
    """The calls give the same answers and errors without asyncio."""

    def use() -> None:
        with Client(daemon.url, retries=ONCE) as client:
            assert client.latest("BTC-USD").symbol == "BTC-USD"
            assert client.predict([ROW], horizon_s=300.0).horizon_s == 300
            assert client.activate("baseline").serving.variant == "baseline"
            assert client.rollback().serving.variant == "ml"
            assert client.model_history(limit=1).entries[0].kind == "rollback"
            with pytest.raises(NotFoundError, match="did you mean BTC-USD"):
                client.latest("BTC-UDS")
            event = next(client.stream())
            assert event.kind == "resync"
            assert client.retried == 0
        client.close()
        with pytest.raises(ClientError, match="closed"):
            client.version()

    await asyncio.to_thread(use)


async def test_faults_have_pointers(daemon: RunningDaemon) -> None:
    """Each fault of a request has a JSON pointer; a lenient request gets the other forecasts."""
    bad = {**ROW, "ret_std": -1.0}
    async with AsyncClient(daemon.url) as client:
        with pytest.raises(InvalidRequestError) as caught:
            await client.predict([ROW, bad, {**ROW, "n": float("nan")}])
        faults = [error.pointer for error in caught.value.errors]
        assert faults == ["#/rows/1/ret_std", "#/rows/2/n"]
        answer = await client.predict([ROW, bad], lenient=True)
        assert client.retried == 0
    assert answer.scores[1] is None
    assert [error.pointer for error in answer.errors] == ["#/rows/1/ret_std"]


async def test_other_refusals_have_classes(daemon: RunningDaemon) -> None:
    """Stale data and a model that cannot be activated have error classes of their own."""
    async with AsyncClient(daemon.url, retries=ONCE) as client:
        with pytest.raises(StaleDataError, match="s old") as stale:
            await client.latest("BTC-USD", max_age_s=0.0)
        assert (stale.value.retry_after_s, stale.value.status) == (1.0, 503)
        with pytest.raises(RefusedError, match="no version '999'"):
            await client.activate("ml", version=999)


async def test_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key allows the calls of its scopes; other calls raise an error with the missing scope."""
    monkeypatch.chdir(tmp_path)
    async with serving(AUTH) as (session, _):
        url = str(session._base_url)
        async with AsyncClient(url, key=READER) as reader, AsyncClient(url) as nobody:
            assert (await reader.version()).model.startswith("baseline-")
            with pytest.raises(ForbiddenError, match="predict"):
                await reader.predict([ROW])
            with pytest.raises(UnauthorizedError):
                await nobody.version()
        async with AsyncClient(url, STRANGER) as stranger, AsyncClient(url, CALLER) as caller:
            with pytest.raises(UnauthorizedError):
                await stranger.version()
            assert len((await caller.predict([ROW])).scores) == 1


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://a", "http://", "http://u:secret@a/", "http://a/?key=secret"]
)
def test_invalid_addresses(url: str) -> None:
    """An address that is invalid or contains a secret is refused without showing it."""
    with pytest.raises(ClientError, match=r"^url: must") as caught:
        AsyncClient(url)
    assert "secret" not in str(caught.value)


async def test_the_key_stays_here() -> None:
    """A redirect is not followed, no error shows the key, and a line break in it is refused."""
    moved = Reply(302, b"", {"Location": "http://127.0.0.1:9/elsewhere"})
    async with scripted(moved) as script, AsyncClient(script.url, "vsk_secret") as client:
        with pytest.raises(UnexpectedAnswerError, match="a redirect to") as caught:
            await client.version()
        assert script.requests[0].headers["Authorization"] == "Bearer vsk_secret"
        assert len(script.requests) == 1
        assert "vsk_secret" not in f"{caught.value!r} {client!r} {vars(client)!r}"
    with pytest.raises(ClientError, match="key: must be one word"):
        AsyncClient("http://127.0.0.1", "a\r\nX-Evil: 1")


async def test_a_newer_service() -> None:
    """Unknown fields are ignored; the answer of another service is an error."""
    newer = Reply(body=b'{"status": "ok", "checks": {}, "mood": "good"}')
    async with (
        scripted(newer, Reply(body=b"<html>")) as script,
        AsyncClient(script.url) as client,
    ):
        assert (await client.health()).status == "ok"
        with pytest.raises(UnexpectedAnswerError, match="/health: unexpected answer"):
            await client.health()


async def test_an_answer_without_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too long is not read to its end, and text has to be text."""
    monkeypatch.setattr("volsvc.client.http_session.MAX_ANSWER_BYTES", 1_000)
    deep = Reply(body=b'{"status": ' + b"[" * 400 + b"]" * 400 + b"}")
    async with (
        scripted(Reply(body=b" " * 1_001), deep, Reply(body=b"\xff")) as script,
        AsyncClient(script.url) as client,
    ):
        with pytest.raises(UnexpectedAnswerError, match="larger than 1000 bytes"):
            await client.health()
        with pytest.raises(UnexpectedAnswerError, match="/health: unexpected answer"):
            await client.health()
        with pytest.raises(UnexpectedAnswerError, match="/metrics: unexpected answer"):
            await client.metrics()


async def test_names_are_quoted() -> None:
    """A symbol is quoted in the path, so that it cannot lead to another route."""
    async with scripted(Reply(404, b"")) as script, AsyncClient(script.url) as client:
        for symbol in ("../models", "a/b?c#d", "BTC USD", "é"):
            with pytest.raises(NotFoundError):
                await client.latest(symbol)
        paths = [request.rel_url.raw_path_qs for request in script.requests]
    assert paths == [
        "/latest/..%2Fmodels",
        "/latest/a%2Fb%3Fc%23d",
        "/latest/BTC%20USD",
        "/latest/%C3%A9",
    ]


@pytest.mark.parametrize("client", [AsyncClient, Client])
def test_help_shows_the_call(client: type) -> None:
    """Each call is a method of both clients, with its arguments and docstring."""
    ours = dict(inspect.getmembers(calls, inspect.isfunction))
    names = {n for n, build in ours.items() if build.__module__ == calls.__name__ and n[0] != "_"}
    assert names >= {"predict", "latest", "history", "activate", "metrics", "stream"}
    for name in names - {"stream"}:
        build, method = ours[name], getattr(client, name)
        own, *rest = inspect.signature(method).parameters.values()
        assert own.name == "self"
        assert rest == list(inspect.signature(build).parameters.values())
        assert method.__doc__ == build.__doc__


def test_importing_it_is_light() -> None:
    """Importing the client loads no arrays, no Kafka, no models and no settings."""
    program = "import sys, volsvc.client; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {"numpy", "aiokafka", "mlflow", "prometheus_client", "structlog", "uvloop", "typer"}
    assert heavy & set(done.stdout.split()) == set()
