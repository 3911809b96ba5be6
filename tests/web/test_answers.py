"""Tests of batches, lenient requests, freshness, compression, CORS and overload."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemon import eventually
from tests.web.conftest import in_its_loop
from tests.web.serving import ROW, exchange, serving, status_of
from volsvc.web.admission import MAX_BATCHES, Gate
from volsvc.web.problem_types import PROBLEM_TYPES
from volsvc.web.problems import ProblemError

Client = aiohttp.ClientSession


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@in_its_loop
async def test_lenient(service: Client) -> None:
    """A lenient request gets null and an error per invalid row, and forecasts of the others."""
    rows = [ROW, {**ROW, "ret_std": -1}, {**ROW, "n": 49}, {"n": 1}, {**ROW, "features": {"x": 1}}]
    headers = {"Prefer": "respond-async, handling=lenient"}
    async with service.post("/predict", json={"rows": rows}, headers=headers) as response:
        assert response.status == 200
        assert response.headers["Preference-Applied"] == "handling=lenient"
        answer = await response.json()
    assert [score is None for score in answer["scores"]] == [False, True, False, True, True]
    assert [p is None for p in answer["predictions"]] == [False, True, False, True, True]
    pointers = [error["pointer"] for error in answer["errors"]]
    assert pointers == [
        "#/rows/1/ret_std",
        "#/rows/3/ret_mean",
        "#/rows/3/ret_std",
        "#/rows/4/features/x",
    ]
    async with service.post("/predict", json={"rows": [ROW, {**ROW, "n": 49}]}) as response:
        strict = await response.json()
    assert "errors" not in strict
    assert [answer["scores"][0], answer["scores"][2]] == strict["scores"]
    async with service.post("/predict", json={"rows": rows}) as response:
        assert response.status == 422
        assert len((await response.json(content_type=None))["errors"]) == 4
    async with service.post("/predict", json={"rows": [{}]}, headers=headers) as response:
        assert (response.status, (await response.json())["scores"]) == (200, [None])
    async with service.post("/predict", json={"row": [{}]}, headers=headers) as response:
        assert response.status == 422, "an error of the request itself is not an error of a row"


@pytest.mark.parametrize("variant", ["baseline", "ml"])
async def test_lenient_without_a_valid_row(variant: str) -> None:
    """Nulls alone are an answer too, of each model, on each of the three ways to it."""
    short: dict[str, Any] = {"rows": [{}]}
    long = {"rows": [{"ret_std": -1}] * 1_000}
    headers = {"Prefer": "handling=lenient", "Content-Type": "application/json"}
    async with serving({"model": {"variant": variant}}) as (client, _):
        for body in (short, short, long):
            async with client.post("/predict", json=body, headers=headers) as response:
                assert response.status == 200
                answer = await response.json()
            nothing = [None] * len(body["rows"])
            assert answer["scores"] == answer["predictions"] == nothing
            assert answer["model_variant"] == variant
            assert answer["errors"]


async def test_rows_do_not_depend_on_their_batch() -> None:
    """A row gets the same forecast alone, in a small batch and in one worked on in a thread."""
    rows = [{"ret_mean": 1e-6 * i, "ret_std": 1e-5 * (1 + i % 7), "n": 49} for i in range(3_000)]
    async with serving({"model": {"variant": "ml"}}) as (client, _):

        async def predictions(part: list[Any]) -> Any:
            async with client.post("/predict", json={"rows": part}) as response:
                assert response.status == 200
                return (await response.json())["predictions"]

        everything = await predictions(rows)
        assert everything[:100] == await predictions(rows[:100])
        assert everything[2_999] == (await predictions(rows[2_999:]))[0]


async def test_large_batches_do_not_hold_up_the_others() -> None:
    """/health/live answers at once while batches of 10,000 rows are worked on."""
    body = json.dumps({"rows": [ROW] * 10_000}).encode()
    async with serving() as (client, _):

        async def batch() -> int:
            async with client.post("/predict", data=body) as response:
                await response.read()
                return response.status

        batches = [asyncio.create_task(batch()) for _ in range(8)]
        waits = []
        while not all(task.done() for task in batches):
            started = time.perf_counter()
            async with client.get("/health/live") as response:
                assert response.status == 200
            waits.append(time.perf_counter() - started)
        assert set(await asyncio.gather(*batches)) == {200}
        assert len(waits) >= 3
        assert max(waits) < 1.0


async def test_too_many_batches_are_refused_with_retry_after() -> None:
    """Large batches above the limit get 429 `overloaded` with Retry-After, and never a 5xx."""
    body = json.dumps({"rows": [ROW] * 10_000}).encode()
    async with serving() as (client, _):

        async def batch() -> tuple[int, str | None, str]:
            async with client.post("/predict", data=body) as response:
                text = await response.text()
                return response.status, response.headers.get("Retry-After"), text

        answers = await asyncio.gather(*(batch() for _ in range(4 * MAX_BATCHES)))
        assert {status for status, _, _ in answers} == {200, 429}
        for status, retry, text in answers:
            if status == 429:
                assert json.loads(text)["type"] == "/problems/overloaded"
                assert retry is not None
                assert int(retry) >= 1
        async with client.post("/predict", data=body) as response:
            assert response.status == 200, "batches are accepted again afterwards"


async def test_a_burst_beyond_the_limit_is_shed() -> None:
    """Requests above http.max_inflight get 429; the others are answered."""
    async with serving({"http": {"max_inflight": 2}}) as (client, daemon):
        body = json.dumps({"rows": [ROW]}).encode()
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        held = [asyncio.create_task(exchange(client, head)) for _ in range(2)]

        async def status() -> tuple[int, str]:
            async with client.post("/predict", data=body) as response:
                return response.status, (await response.json(content_type=None)).get("type", "")

        assert daemon._server is not None
        gate = daemon._server._gate

        async def full() -> bool:
            return len(gate) == 2

        await eventually(full, 5, "two requests are in flight")
        async with client.get("/health/live") as response:
            assert response.status == 200, "health checks are never refused"
        assert await status() == (429, "/problems/overloaded")
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)

        async def free() -> bool:
            return (await status())[0] == 200

        await eventually(free, 5, "requests are accepted again")


def test_the_wait_is_computed() -> None:
    """Retry-After grows with the duration of answers and the number of waiting requests."""
    gate = Gate(1)
    for connection in range(200):
        gate.enter(connection)
    gate.check(0)
    with pytest.raises(ProblemError) as quick:
        gate.check(1)
    for _ in range(200):
        gate.record(0.1)
    with pytest.raises(ProblemError) as slow:
        gate.check(1)
    assert int(quick.value.headers["Retry-After"]) == 1
    assert 15 <= int(slow.value.headers["Retry-After"]) <= 21


def test_a_flood_does_not_starve_itself() -> None:
    """Admitted requests stay admitted, however many arrive while they wait."""
    gate, served = Gate(10), 0
    for wave in range(101):
        # Each wave arrives before the previous one has been answered.
        for number in range(50):
            gate.enter((wave, number))
        for number in range(50 if wave else 0):
            before = (wave - 1, number)
            try:
                gate.check(before)
                served += 1
            except ProblemError:
                pass
            gate.leave(before)
    assert len(gate) == 50
    assert served >= 100 * 10


@in_its_loop
async def test_freshness(service: Client) -> None:
    """A matching If-None-Match gets 304 without a body; data older than max_age gets 503."""
    for path in ("/latest/BTC-USD", "/latest"):
        async with service.get(path) as response:
            tag = response.headers["ETag"]
            assert response.headers["Cache-Control"] == "no-cache"
        for given, status in ((tag, 304), (f'"x", {tag}', 304), ('W/"other"', 200)):
            async with service.get(path, headers={"If-None-Match": given}) as response:
                assert response.status == status
                assert response.headers["ETag"] == tag
                assert bool(await response.read()) is (status == 200)
        async with service.get(path, params={"max_age": "3600"}) as response:
            assert response.status == 200
        async with service.get(path, params={"max_age": "0"}) as response:
            assert response.status == 503
            assert response.headers["Retry-After"]
            problem = await response.json(content_type=None)
        assert problem["type"] == "/problems/stale-data"
        for text in ("-1", "nan", "inf", "soon", "", "1_0", "\uff11\uff10"):
            async with service.get(path, params={"max_age": text}) as response:
                assert response.status == 422, text


@in_its_loop
async def test_long_answers_take_turns(service: Client) -> None:
    """Many long answers do not delay a short one."""
    base = service._base_url
    assert base is not None
    body = json.dumps({"rows": [ROW]})
    head = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    short = f"POST /predict HTTP/1.1\r\n{head}\r\n\r\n{body}".encode()
    long = b"GET /history/BTC-USD?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n"
    connections = [await asyncio.open_connection(base.host, base.port) for _ in range(61)]
    for (_, writer), request in zip(connections, [long] * 60 + [short], strict=True):
        writer.write(request)
    async with asyncio.timeout(60):
        answer = await connections[-1][0].readuntil(b"}]}")
    assert status_of(answer) == 200
    answered = sum(bool(reader._buffer) for reader, _ in connections[:-1])  # type: ignore[attr-defined]
    assert answered < 30
    for _, writer in connections:
        writer.close()


@in_its_loop
async def test_answers_of_those_who_left_keep_nobody_waiting(service: Client) -> None:
    """A long answer whose client is gone is not made, and a wrong request waits for no turn."""
    base = service._base_url
    assert base is not None

    async def left() -> float:
        async with service.get("/metrics") as response:
            text = await response.text()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith("http_server_request_duration_seconds_count{")
            and 'route="/history/{symbol}"' in line
            and 'code="408"' in line
        )

    before = await left()
    connections = [await asyncio.open_connection(base.host, base.port) for _ in range(60)]
    for _, writer in connections:
        writer.write(b"GET /history/BTC-USD?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.close()
    async with service.get("/latest", params={"max_age": "soon"}) as response:
        assert response.status == 422

    async def gone() -> bool:
        return await left() >= before + 30

    await eventually(gone, 20, "most were gone before their turn")


@in_its_loop
async def test_a_parameter_is_given_once(service: Client) -> None:
    """A query parameter given twice is refused with 422 and a pointer to it."""
    for path, name, value in (
        ("/latest", "max_age", "60"),
        ("/latest/BTC-USD", "max_age", "60"),
        ("/history/BTC-USD", "limit", "5"),
        ("/models/history", "limit", "5"),
        ("/models/history", "at", "2026-01-05T14:00:00Z"),
        ("/quality", "symbol", "BTC-USD"),
        ("/stream", "symbols", "BTC-USD"),
        ("/stream", "limit", "1"),
    ):
        async with service.get(path, params=[(name, value), (name, value)]) as response:
            problem = await response.json(content_type=None)
        assert response.status == 422, (path, problem)
        (error,) = problem["errors"]
        assert error == {"pointer": f"#/{name}", "detail": "must be given once, not 2 times"}


@in_its_loop
async def test_compression_where_it_pays(service: Client) -> None:
    """Long answers are compressed for clients that accept gzip; short ones never are."""
    plain: dict[str, str] = {}
    for accept, packed in (("identity", False), ("gzip;q=0, *", False), ("br, gzip;q=0.8", True)):
        headers = {"Accept-Encoding": accept}
        for path in ("/openapi.json", "/docs/assets/swagger-ui.css", "/history/BTC-USD"):
            async with service.get(path, headers=headers) as response:
                assert (response.headers.get("Content-Encoding") == "gzip") is packed, path
                assert "Accept-Encoding" in response.headers["Vary"]
                text = await response.text()
            assert plain.setdefault(path, text) == text
        async with service.get("/health/live", headers=headers) as response:
            assert "Content-Encoding" not in response.headers
    body = gzip.compress(json.dumps({"rows": [ROW]}).encode())
    async with service.post(
        "/predict", data=body, headers={"Content-Encoding": "gzip"}
    ) as response:
        assert response.status == 200, "compressed requests are accepted"


async def test_other_sites_may_call_only_when_configured() -> None:
    """CORS is off by default; configured origins get its headers and a preflight, others do not."""
    ours, other = {"Origin": "https://a.example"}, {"Origin": "https://b.example"}
    preflight = {"Access-Control-Request-Method": "POST"}
    async with serving() as (client, _):
        async with client.get("/latest", headers=ours) as response:
            assert not [name for name in response.headers if name.startswith("Access-Control")]
        async with client.options("/predict", headers={**ours, **preflight}) as response:
            assert response.status == 405
    async with serving({"http": {"cors_origins": "https://a.example"}}) as (client, _):
        async with client.get("/latest", headers=ours) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"
            assert "Origin" in response.headers["Vary"]
            assert "Access-Control-Allow-Credentials" not in response.headers
        async with client.options("/predict", headers={**ours, **preflight}) as response:
            assert response.status == 204
            assert "POST" in response.headers["Access-Control-Allow-Methods"]
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        async with client.get("/latest", headers=other) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
        async with client.options("/predict", headers={**other, **preflight}) as response:
            assert response.status == 405


@in_its_loop
async def test_pages_are_locked_down(service: Client) -> None:
    """Pages allow only their own files, and no framing."""
    for path in ("/docs", "/docs/assets/start.js", "/", "/assets/main.js"):
        async with service.get(path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Frame-Options"] == "DENY"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
    async with service.get("/latest") as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@in_its_loop
async def test_each_problem_is_explained(service: Client) -> None:
    """The type of every problem links to its title, status and remedy."""
    for slug, problem_type in PROBLEM_TYPES.items():
        async with service.get(f"/problems/{slug}") as response:
            assert response.status == 200
            answer = await response.json()
        assert (answer["status"], answer["title"]) == (problem_type.status, problem_type.title)
        assert answer["remedy"]
    async with service.get("/problems/none") as response:
        assert response.status == 404


async def test_draining_finishes_what_is_in_flight() -> None:
    """While draining, readiness is 503 but a request whose body is still arriving is answered."""
    async with serving() as (client, daemon):
        body = json.dumps({"rows": [ROW]}).encode()
        base = client._base_url
        assert base is not None
        reader, writer = await asyncio.open_connection(str(base.host), base.port)
        length = str(len(body)).encode()
        writer.write(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n"
        )
        await writer.drain()
        async with client.get("/health/ready") as response:
            assert response.status == 200
        daemon.services.health.draining = True
        async with client.get("/health/ready") as response:
            assert response.status == 503
        async with client.get("/health/startup") as response:
            assert response.status == 200
        writer.write(body)
        answer = await reader.read()
        writer.close()
        assert status_of(answer) == 200
        assert b"Connection: close" in answer
