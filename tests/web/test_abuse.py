"""Hostile requests: each gets a clear 4xx, none a 500 or a stall, and other clients go on."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemon import eventually, metric_sum
from tests.web.serving import ROW, exchange, serving, status_of
from tests.web.test_fast_path import RawClient, request
from volsvc.daemon.daemon import Daemon
from volsvc.web.server.connection import CHECK_S

Served = tuple[aiohttp.ClientSession, Daemon]
TIGHT = {
    "max_body_bytes": 100_000,
    "max_rows": 1_000,
    "header_timeout_s": 0.5,
    "request_timeout_s": 2,
    "max_connections": 50,
}


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.chdir(tmp_path)
    async with serving({"http": TIGHT}) as (client, daemon):
        yield client, daemon
        async with client.post("/predict", json={"rows": [ROW]}) as response:
            assert response.status == 200, "the service is as it was"
        async with client.get("/metrics") as response:
            text = await response.text()
        lines = [x for x in text.splitlines() if 'status_code="5' in x and "_count" in x]
        assert not lines, "nothing failed on our side"


def problem_of(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
HEADS: dict[str, tuple[bytes, int]] = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "nonsense": (b"hello\r\n\r\n", 400),
    "bad version": (b"GET /latest HTTP/9.9.9\r\n\r\n", 400),
    "null in header": (b"GET /latest HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", 400),
    "space in name": (b"GET /latest HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", 400),
    "folded": (b"GET /latest HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
    "long line": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
    "long header": (b"GET / HTTP/1.1\r\nA: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n", 400),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", 400),
    "negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "words as length": (POST + b"Content-Length: two\r\n\r\n", 400),
    "smuggled": (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "strange encoding": (POST + b"Transfer-Encoding: cow\r\n\r\n{}", 400),
    "broken chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
    "no version": (b"GET /latest\r\n\r\n", 400),
    "no version, with headers": (b"GET /latest\r\nHost: x\r\n\r\n", 400),
    "unknown coding": (POST + b"Content-Encoding: cow\r\nContent-Length: 2\r\n\r\n{}", 415),
    "coded twice": (POST + b"Content-Encoding: gzip, gzip\r\nContent-Length: 1\r\n\r\nx", 415),
    "two codings": (
        POST + b"Content-Encoding: gzip\r\n" * 2 + b"Content-Length: 2\r\n\r\n{}",
        415,
    ),
    "miracle": (b"GET /latest HTTP/1.1\r\nHost: x\r\nExpect: a-miracle\r\n\r\n", 417),
    "miracle elsewhere": (b"GET /none HTTP/1.1\r\nHost: x\r\nExpect: a-miracle\r\n\r\n", 417),
    "broken gzip": (POST + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", 400),
}


@pytest.mark.parametrize("name", HEADS)
async def test_heads_that_are_no_http(name: str, served: Served) -> None:
    """Bytes that are not HTTP, or HTTP of two meanings, are refused as a problem."""
    data, status = HEADS[name]
    answer = await exchange(served[0], data)
    assert status_of(answer) == status, answer
    assert problem_of(answer)["status"] == status
    assert b"\r\nContent-Type: application/problem+json" in answer


PATHS = (
    "/docs/assets/../../app.py",
    "/docs/assets/..%2f..%2fapp.py",
    "/docs/assets/%2e%2e/%2e%2e/app.py",
    "/docs/assets/....//app.py",
    "/docs/assets//etc/passwd",
    "/docs/assets/%00",
    "/docs/assets/..\\..\\app.py",
    "/latest/..%2f..%2fetc%2fpasswd",
    "/history/%00",
    "/problems/..%2f..%2fetc",
    "//etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
)


@pytest.mark.parametrize("path", PATHS)
async def test_paths_lead_nowhere_else(path: str, served: Served) -> None:
    """No path reads a file that is not meant to be read."""
    answer = await exchange(served[0], f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert status_of(answer) in (400, 403, 404), answer
    assert b"root:" not in answer
    assert b"import" not in answer


async def test_answers_cannot_be_split(served: Served) -> None:
    """Nothing that a client sends becomes a header of an answer."""
    head = b"GET /latest/%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: x\r\n"
    injected = head + b"X-Request-ID: a%0d%0aSet-Cookie:%20a=b\r\n\r\n"
    answer = await exchange(served[0], injected)
    assert status_of(answer) == 404
    assert b"set-cookie" not in answer.partition(b"\r\n\r\n")[0].lower()
    async with served[0].get("/latest", headers={"Origin": "https://a.example"}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_bodies_above_the_limit(served: Served) -> None:
    """Declared, chunked or compressed: a body above the limit is 413, before it is all read."""
    client, _ = served
    declared = await exchange(client, POST + b"Content-Length: 100000000\r\n\r\n" + b" " * 200_000)
    assert status_of(declared) == 413
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    chunked = await exchange(client, POST + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 4)
    assert status_of(chunked) == 413
    # Each on a connection of its own: these are closed early, and a client may be slow to notice.
    bomb, small = b" " * 50_000_000, json.dumps({"rows": [ROW]}).encode()
    for body, status in ((bomb, 413), (small, 200)):
        packed = gzip.compress(body)
        assert len(packed) < 100_000
        head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
        assert status_of(await exchange(client, POST + head + packed)) == status


BOMBS: dict[str, tuple[bytes, int]] = {
    "lists": (b"[" * 90_000, 400),
    "objects": (b'{"rows":' * 10_000, 400),
    "deep inside": (b'{"rows":[' + b"[" * 5_000 + b"]" * 5_000 + b"]}", 400),
    "deep value": (b'{"rows":[{"ret_mean":' + b'{"a":' * 150 + b"1" + b"}" * 150 + b"}]}", 422),
    "digits": (b'{"rows":[{"ret_mean":' + b"9" * 90_000 + b"}]}", 400),
    "digits as n": (b'{"rows":[{"ret_mean":0,"ret_std":1,"n":' + b"9" * 4_000 + b"}]}", 422),
    "fraction": (b'{"rows":[{"ret_mean":0.' + b"1" * 90_000 + b"}]}", 422),
    "exponent": (b'{"rows":[{"ret_mean":1e99999999999,"ret_std":1,"n":5}]}', 422),
    "twice at the top": (b'{"rows":[],"rows":[{"ret_mean":0,"ret_std":1,"n":5}]}', 400),
    "twice in a row": (b'{"rows":[{"ret_mean":0,"ret_std":1,"n":5,"n":6}]}', 400),
    "twice, escaped": (b'{"rows":[{"ret_mean":0,"ret_std":1,"n":5,"\\u006e":6}]}', 400),
    "twice in a map": (
        b'{"rows":[{"ret_mean":0,"ret_std":1,"n":5,"features":{"level":1,"level":2}}]}',
        400,
    ),
    "a colon hides it": (
        b'{"rows":[{"ret_mean":0,"ret_std":1,"n":5,"n":6,"symbol":"a\\u003ab"}]}',
        400,
    ),
    "many names": (b"{" + b",".join(b'"k%d":1' % i for i in range(8_000)) + b"}", 422),
    "many names in a row": (
        b'{"rows":[{' + b",".join(b'"k%d":1' % i for i in range(8_000)) + b"}]}",
        422,
    ),
    "many names in a map": (
        b'{"rows":[{"features":{' + b",".join(b'"k%d":1' % i for i in range(8_000)) + b"}}]}",
        422,
    ),
    "too many rows": (b'{"rows":[' + b",".join([b"1"] * 40_000) + b"]}", 422),
    "many bad rows": (b'{"rows":[' + b",".join([b"{}"] * 1_000) + b"]}", 422),
    "NaN": (b'{"rows":[{"ret_mean":NaN,"ret_std":1,"n":5}]}', 422),
    "no UTF-8": (b'{"rows":[{"ret_mean":0,"ret_std":1,"n":5,"symbol":"\xff"}]}', 400),
    "half a surrogate": (b'{"rows":[{"ret_mean":0,"ret_std":1,"n":5,"symbol":"\\ud800"}]}', 400),
    "other encoding": ('{"rows":[]}'.encode("utf-16"), 400),
    "byte order mark": (b'\xef\xbb\xbf{"rows":[]}', 422),
    "two byte order marks": (b'\xef\xbb\xbf\xef\xbb\xbf{"rows":[]}', 400),
    "two documents": (b'{"rows":[]}{"rows":[]}', 400),
    "comment": (b'{"rows":[]/*x*/}', 400),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_json_bombs(name: str, served: Served) -> None:
    """Depth, huge numbers, names that come twice: 400 or 422 at once."""
    body, status = BOMBS[name]
    async with asyncio.timeout(60), served[0].post("/predict", data=body) as response:
        text = await response.text()
        assert response.status == status, text[:500]
        assert len(text) < 50_000
        if name.startswith(("twice", "a colon")):
            assert "occurs twice" in text


async def test_types_of_bodies(served: Served) -> None:
    """JSON by any of its names is read; a form with files or an image is 415."""
    body = json.dumps({"rows": [ROW]}).encode()
    for kind, status in (
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("application/vnd.api+json", 200),
        ("application/x-www-form-urlencoded", 200),
        ("multipart/form-data; boundary=x", 415),
        ("text/html", 200),
        ("image/png", 415),
        ("application/xml", 415),
    ):
        headers = {"Content-Type": kind}
        async with served[0].post("/predict", data=body, headers=headers) as response:
            assert response.status == status, kind


async def test_codings_of_bodies(served: Served) -> None:
    """A known coding is undone, whatever its case; the refusal of another names those."""
    body = json.dumps({"rows": [ROW]}).encode()
    for coding, sent in (("gzip", gzip.compress(body)), ("GZIP", gzip.compress(body))):
        headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
        async with served[0].post("/predict", data=sent, headers=headers) as response:
            assert response.status == 200, coding
    for method, path in (("POST", "/predict"), ("PUT", "/models/active")):
        headers = {"Content-Encoding": "cow", "Content-Type": "application/json"}
        async with served[0].request(method, path, data=body, headers=headers) as response:
            problem = await response.json(content_type=None)
            assert (response.status, problem["type"]) == (415, "/problems/unsupported-coding")
            assert response.headers["Accept-Encoding"] == "gzip, deflate, zstd"
            assert "gzip, deflate, zstd" in problem["detail"]


async def test_a_byte_order_mark_is_ignored(served: Served) -> None:
    """JSON in UTF-8 with a mark in front is read as without it, on every way."""
    body = b"\xef\xbb\xbf" + json.dumps({"rows": [ROW]}).encode()
    for _ in range(2):
        async with served[0].post("/predict", data=body) as response:
            assert response.status == 200
    mark = b'\xef\xbb\xbf{"variant": "baseline"}'
    async with served[0].put("/models/active", data=mark) as response:
        assert response.status == 200


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02", b"hello\r\n\r\n", b"GET /\r\n\r\n"])
async def test_a_request_before_garbage_is_answered(garbage: bytes, served: Served) -> None:
    """Requests in the bytes in front of it are answered in their order, then comes the 400."""
    asked = [
        request("GET", "/health/live"),
        request("POST", "/predict", {"rows": [ROW]}),
        request("GET", "/latest/NONE"),
    ]
    base = served[0]._base_url
    assert base is not None
    for count in (1, 2, 3):
        raw = RawClient(*await asyncio.open_connection(base.host, base.port))
        raw.writer.write(b"".join(asked[:count]) + garbage)
        statuses = [(await raw.receive()).status for _ in range(count + 1)]
        assert statuses == [*[200, 200, 404][:count], 400]
        assert await raw.closed()
        raw.writer.close()


async def test_an_unmet_expectation_occupies_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection stays, and the request does not count as in flight for ever."""
    monkeypatch.chdir(tmp_path)
    async with serving({"http": {"max_inflight": 1}}) as (client, _):
        base = client._base_url
        assert base is not None
        raw = RawClient(*await asyncio.open_connection(base.host, base.port))
        answer = await raw.exchange(request("GET", "/latest", Expect="a-miracle"))
        assert (answer.status, json.loads(answer.body)["type"]) == (
            417,
            "/problems/expectation-failed",
        )
        async with client.get("/latest") as response:
            assert response.status == 200
        assert (await raw.exchange(request("GET", "/latest"))).status == 200
        raw.writer.close()


@pytest.mark.usefixtures("loop_clock")
async def test_slow_loris(served: Served) -> None:
    """Heads that never end are 408 after a while; meanwhile others are served at once."""
    client, _ = served
    slow = [
        asyncio.create_task(exchange(client, b"GET /latest HTTP/1.1\r\nHost: x\r\n"))
        for _ in range(20)
    ]
    silent = [asyncio.create_task(exchange(client)) for _ in range(5)]
    for _ in range(20):
        async with client.get("/health/live") as response:
            assert response.status == 200
    for answer in await asyncio.gather(*slow, *silent):
        assert status_of(answer) == 408
        assert problem_of(answer)["type"] == "/problems/request-timeout"


async def test_a_dripping_head_gains_nothing(served: Served) -> None:
    """A byte now and then does not put the deadline off."""
    client, _ = served
    base = client._base_url
    assert base is not None
    reader, writer = await asyncio.open_connection(str(base.host), base.port)
    started = time.monotonic()
    answered = asyncio.create_task(reader.read())
    while not answered.done() and time.monotonic() - started < 5:
        writer.write(b"X")
        await asyncio.wait({answered}, timeout=0.1)
    writer.close()
    assert status_of(await answered) in (400, 408)


@pytest.mark.usefixtures("loop_clock")
async def test_the_rest_of_a_refused_body_begins_no_head(served: Served) -> None:
    """A client may finish what was refused, and then stay as long as any other."""
    client, _ = served
    base = client._base_url
    assert base is not None
    raw = RawClient(*await asyncio.open_connection(base.host, base.port))
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 110000\r\n\r\n"
    raw.writer.write(head + b"x" * 109_999)
    assert (await raw.receive()).status == 413
    raw.writer.write(b"x")
    answer = asyncio.create_task(raw.receive())
    await asyncio.wait({answer}, timeout=TIGHT["header_timeout_s"] + 2 * CHECK_S)
    assert not answer.done(), "it is not taken for a head that does not end"
    raw.writer.write(request("GET", "/health/live"))
    assert (await answer).status == 200
    raw.writer.close()


async def test_too_many_connections(served: Served) -> None:
    """Over the limit a new client is refused; connected clients are served."""
    client, _ = served
    base = client._base_url
    assert base is not None
    async with client.get("/health/live") as response:
        assert response.status == 200
    answers = await asyncio.gather(*(exchange(client) for _ in range(80)))
    statuses = [status_of(answer) for answer in answers]
    assert statuses.count(429) >= 30
    assert set(statuses) == {408, 429}


@pytest.mark.usefixtures("loop_clock")
async def test_a_reader_that_does_not_read(served: Served) -> None:
    """A client that reads nothing of its answers is cut off, and their memory freed."""
    client, _ = served

    async def connections() -> float:
        async with client.get("/metrics") as response:
            return metric_sum(await response.text(), "volsvc_http_connections")

    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.setblocking(False)
        base = client._base_url
        assert base is not None
        loop = asyncio.get_running_loop()
        await loop.sock_connect(reader, (str(base.host), base.port))

        async def came() -> bool:
            return await connections() == 2

        await eventually(came, 10, "both connections are seen")
        body = json.dumps({"rows": [ROW] * 1_000}).encode()
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        asked = asyncio.create_task(loop.sock_sendall(reader, (head + body) * 60))

        async def cut() -> bool:
            return await connections() == 1

        await eventually(cut, 20, "the connection is cut")
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


async def test_a_body_that_breaks_off_is_refused_at_once(served: Served) -> None:
    """A chunk that is none is 400 although the head came before it, and not 408 after a while."""
    base = served[0]._base_url
    assert base is not None
    raw = RawClient(*await asyncio.open_connection(base.host, base.port))
    raw.writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    async with served[0].get("/health/live") as response:
        assert response.status == 200
    raw.writer.write(b"zz\r\n{}\r\n0\r\n\r\n")
    answer = await raw.receive()
    assert (answer.status, json.loads(answer.body)["type"]) == (400, "/problems/bad-request")
    assert await raw.closed()
    raw.writer.close()
