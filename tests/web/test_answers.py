"""What surrounds an answer: batches, lenience, freshness, compression, other sites, load."""

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
from tests.web.serving import ROW, exchange, serving, status_of
from volsvc.web.admission import MAX_BATCHES, Gate
from volsvc.web.problems import KINDS, ProblemError

Client = aiohttp.ClientSession


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def test_lenient(service: Client) -> None:
    """A lenient request gets null and a pointer for each faulty row, the others as ever."""
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
        assert response.status == 422, "what is wrong with the request itself is no row's fault"


async def test_rows_do_not_depend_on_their_batch() -> None:
    """A row gets the same answer alone, in a small batch and in one that goes to a thread."""
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
    """While batches of 10,000 rows are worked at, /health/live answers at once."""
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


async def test_too_many_batches_are_refused_and_told_when() -> None:
    """Beyond a bound large batches get 429 `overloaded`, never a 5xx, and none waits long."""
    body = json.dumps({"rows": [ROW] * 10_000}).encode()
    async with serving() as (client, _):

        async def batch() -> tuple[int, str | None, str]:
            async with client.post("/predict", data=body) as response:
                text = await response.text()
                return response.status, response.headers.get("Retry-After"), text

        answers = await asyncio.gather(*(batch() for _ in range(4 * MAX_BATCHES)))
        assert {status for status, _, _ in answers} <= {200, 429}
        for status, retry, text in answers:
            if status == 429:
                assert json.loads(text)["type"] == "/problems/overloaded"
                assert retry is not None
                assert int(retry) >= 1
        async with client.post("/predict", data=body) as response:
            assert response.status == 200, "afterwards all is as before"


async def test_a_burst_beyond_the_limit_is_shed() -> None:
    """With more requests in flight than are taken on, some are 429, and the rest are served."""
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
            assert response.status == 200, "who asks how it is gets an answer"
        assert await status() == (429, "/problems/overloaded")
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)

        async def free() -> bool:
            return (await status())[0] == 200

        await eventually(free, 5, "requests are taken again")


def test_the_wait_is_computed() -> None:
    """The longer answers take and the more wait, the later a refused client is told to return."""
    gate = Gate(1)
    for connection in range(200):
        gate.came(connection)
    gate.check(0)
    with pytest.raises(ProblemError) as quick:
        gate.check(1)
    for _ in range(200):
        gate.took(0.1)
    with pytest.raises(ProblemError) as slow:
        gate.check(1)
    assert int(quick.value.headers["Retry-After"]) == 1
    assert 15 <= int(slow.value.headers["Retry-After"]) <= 21


def test_a_flood_does_not_starve_itself() -> None:
    """However many come while others wait, those that were taken on stay taken on."""
    gate, served = Gate(10), 0
    for wave in range(101):
        # Each wave comes before the wave before it has been answered.
        for number in range(50):
            gate.came((wave, number))
        for number in range(50 if wave else 0):
            before = (wave - 1, number)
            try:
                gate.check(before)
                served += 1
            except ProblemError:
                pass
            gate.left(before)
    assert len(gate) == 50
    assert served >= 100 * 10


async def test_freshness(service: Client) -> None:
    """ETag and If-None-Match save the body; max_age turns an answer that is too old into 503."""
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
        for text in ("-1", "nan", "inf", "soon", ""):
            async with service.get(path, params={"max_age": text}) as response:
                assert response.status == 422, text


async def test_long_answers_take_turns(service: Client) -> None:
    """Many who ask for much at once do not hold up one who asks for little."""
    base = service._base_url
    assert base is not None
    body = json.dumps({"rows": [ROW]})
    head = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    short = f"POST /predict HTTP/1.1\r\n{head}\r\n\r\n{body}".encode()
    long = b"GET /history/BTC-USD?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n"
    talks = [await asyncio.open_connection(base.host, base.port) for _ in range(61)]
    for (_, writer), asked in zip(talks, [long] * 60 + [short], strict=True):
        writer.write(asked)
    async with asyncio.timeout(10):
        answer = await talks[-1][0].readuntil(b"}]}")
    assert status_of(answer) == 200
    answered = sum(bool(reader._buffer) for reader, _ in talks[:-1])  # type: ignore[attr-defined]
    assert answered < 30
    for _, writer in talks:
        writer.close()


async def test_a_parameter_is_given_once(service: Client) -> None:
    """Of two values none may be taken in silence."""
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


async def test_compression_where_it_pays(service: Client) -> None:
    """Long answers are compressed for those who take it, short ones for nobody."""
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
        assert response.status == 200, "compressed requests are read"


async def test_other_sites_may_call_only_when_told() -> None:
    """CORS is off by default; configured origins get it, with their preflight, others do not."""
    ours, other = {"Origin": "https://a.example"}, {"Origin": "https://b.example"}
    asked = {"Access-Control-Request-Method": "POST"}
    async with serving() as (client, _):
        async with client.get("/latest", headers=ours) as response:
            assert not [name for name in response.headers if name.startswith("Access-Control")]
        async with client.options("/predict", headers={**ours, **asked}) as response:
            assert response.status == 405
    async with serving({"http": {"cors_origins": "https://a.example"}}) as (client, _):
        async with client.get("/latest", headers=ours) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"
            assert "Origin" in response.headers["Vary"]
            assert "Access-Control-Allow-Credentials" not in response.headers
        async with client.options("/predict", headers={**ours, **asked}) as response:
            assert response.status == 204
            assert "POST" in response.headers["Access-Control-Allow-Methods"]
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        async with client.get("/latest", headers=other) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
        async with client.options("/predict", headers={**other, **asked}) as response:
            assert response.status == 405


async def test_pages_are_locked_down(service: Client) -> None:
    """Pages run nothing but their own files, and stand in no frame."""
    for path in ("/docs", "/docs/assets/start.js", "/", "/assets/main.js"):
        async with service.get(path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Frame-Options"] == "DENY"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
    async with service.get("/latest") as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_each_problem_is_explained(service: Client) -> None:
    """The type of every problem leads to what it means and what to do."""
    for slug, kind in KINDS.items():
        async with service.get(f"/problems/{slug}") as response:
            assert response.status == 200
            answer = await response.json()
        assert (answer["status"], answer["title"]) == (kind.status, kind.title)
        assert answer["remedy"]
    async with service.get("/problems/none") as response:
        assert response.status == 404


async def test_draining_finishes_what_is_in_flight() -> None:
    """On the way down readiness goes first; a request whose body still comes is answered."""
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
        daemon.health.draining = True
        async with client.get("/health/ready") as response:
            assert response.status == 503
        async with client.get("/health/startup") as response:
            assert response.status == 200
        writer.write(body)
        answer = await reader.read()
        writer.close()
        assert status_of(answer) == 200
        assert b"Connection: close" in answer
