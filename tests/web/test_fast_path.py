"""The fast path: its answers cannot be told from the middleware's."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import generate_latest

from tests.daemon import eventually, metric_sum
from tests.web.serving import ROW, serving
from tests.web.test_auth import CALLER, KEYS, READER, bearer, entry
from volsvc.config.settings import load_settings
from volsvc.daemon.daemon import Daemon
from volsvc.telemetry.logs import configure_logs
from volsvc.web.auth.api_keys import new_key
from volsvc.web.routes import predict
from volsvc.web.server.connection import Connection
from volsvc.web.services import SERVICES, Services

GOOD = {"rows": [ROW, {**ROW, "ret_std": 0.02, "span_s": 40.0}]}
BAD = {"rows": [ROW, {**ROW, "n": 0}]}
MOVING = ("ts", "age_s", "request_id", "instance")


class RawAnswer(NamedTuple):
    """An answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def settled(self) -> Any:
        """The parts that do not change from one request to the next."""
        moving = ("content-length", "date", "x-request-id")
        headers = [(name, value) for name, value in sorted(self.headers) if name not in moving]
        packed = ("content-encoding", "gzip") in headers
        plain = gzip.decompress(self.body) if packed else self.body
        fields = json.loads(plain)
        return self.status, headers, {n: v for n, v in fields.items() if n not in MOVING}


class RawClient:
    """A client connection that sends and receives bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def receive(self) -> RawAnswer:
        """Return the next answer."""
        async with asyncio.timeout(60):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            pairs = [line.split(": ", 1) for line in lines]
            headers = [(name.lower(), value) for name, value in pairs]
            length = int(dict(headers).get("content-length", 0))
            body = await self._reader.readexactly(length)
        return RawAnswer(int(first.split(" ")[1]), headers, body)

    async def exchange(self, *parts: bytes) -> RawAnswer:
        """Send these parts, and return the answer."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)
        return await self.receive()

    async def closed(self) -> bool:
        """Return whether the server has closed the connection."""
        async with asyncio.timeout(60):
            return await self._reader.read(1) == b""


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """Return a request in bytes; `_` in a header's name stands for `-`."""
    given = {"Host": "localhost", **{n.replace("_", "-"): v for n, v in headers.items()}}
    content = (
        b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    )
    if body is not None:
        given = {"Content-Type": "application/json", **given, "Content-Length": str(len(content))}
    head = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*head, "", ""]).encode() + content


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def talking(**settings: Any) -> AsyncIterator[tuple[RawClient, Daemon]]:
    async with serving(settings) as (client, daemon):
        base = client._base_url
        assert base is not None
        reader, writer = await asyncio.open_connection(base.host, base.port)
        try:
            yield RawClient(reader, writer), daemon
        finally:
            writer.close()


def replay_of(path: Path) -> dict[str, Any]:
    return {"source": {"kind": "replay", "path": str(path)}, "replay": {"speed": "max"}}


async def replayed(daemon: Daemon, path: Path) -> None:
    """Wait until the whole recording has been processed."""
    rows = len(path.read_text().splitlines())
    registry = parts_of(daemon).metrics.registry

    async def done() -> bool:
        return metric_sum(generate_latest(registry).decode(), "volsvc_ticks_total") == rows

    await eventually(done, 30, "the recording is replayed")


def parts_of(daemon: Daemon) -> Services:
    assert daemon._server is not None
    return daemon._server._runner.app[SERVICES]


SAME = {
    "rows": request("POST", "/predict", GOOD),
    "one row": request("POST", "/predict", {"rows": [ROW]}),
    "a horizon": request("POST", "/predict", {**GOOD, "horizon_s": 900}),
    "many rows, gzip": request("POST", "/predict", {"rows": [ROW] * 20}, Accept_Encoding="gzip"),
    "many rows": request("POST", "/predict", {"rows": [ROW] * 20}),
    "a bad row": request("POST", "/predict", BAD),
    "a bad row, lenient": request("POST", "/predict", BAD, Prefer="handling=lenient"),
    "no JSON": request("POST", "/predict", b"{"),
    "nothing": request("POST", "/predict", b""),
    "a name twice": request("POST", "/predict", b'{"rows":[{"n":1,"n":2}]}'),
    "newest": request("GET", "/latest/BTC-USD"),
    "newest, gzip": request("GET", "/latest/BTC-USD", Accept_Encoding="gzip, deflate, br"),
    "unknown": request("GET", "/latest/NO-SUCH"),
    "a user agent": request("GET", "/latest/BTC-USD", User_Agent="test/1", Accept="*/*"),
}


async def test_both_paths_answer_alike(fast: Counter[str], minutes: Path) -> None:
    """Status, headers, body and metrics are equal on both paths for each kind of request."""
    async with talking(**replay_of(minutes)) as (client, daemon):
        await replayed(daemon, minutes)
        for name, asked in SAME.items():
            before = fast.total()
            long_way = await client.exchange(asked)
            assert fast.total() == before, "the first of its kind"
            for _ in range(3):
                again = await client.exchange(asked)
                assert again.settled() == long_way.settled(), name
                assert dict(again.headers)["date"]
                assert len(dict(again.headers)["x-request-id"]) == 32
            assert fast.total() == before + 3, name
        assert not fast["declined"]
        text = (await client.exchange(request("GET", "/metrics"))).body.decode()
    for method, route, status, count in (
        ("POST", "/predict", 200, 24),
        ("POST", "/predict", 400, 12),
        ("POST", "/predict", 422, 4),
        ("GET", "/latest/{symbol}", 200, 12),
        ("GET", "/latest/{symbol}", 404, 4),
    ):
        labels = f'http_request_method="{method}",http_response_status_code="{status}"'
        name = "http_server_request_duration_seconds_count"
        assert f'{name}{{{labels},http_route="{route}"}} {count}.0' in text, (route, status)


LONG = {
    "an id": request("GET", "/latest/BTC-USD", X_Request_ID="mine"),
    "a trace": request(
        "GET", "/latest/BTC-USD", traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    ),
    "a query": request("GET", "/latest/BTC-USD?max_age=1000000"),
    "a tag": request("GET", "/latest/BTC-USD", If_None_Match='W/"x"'),
    "another site": request("GET", "/latest/BTC-USD", Origin="https://example.com"),
    "another route": request("GET", "/latest"),
    "another method": request("DELETE", "/predict"),
    "a form": request("POST", "/predict", GOOD, Content_Type="application/x-www-form-urlencoded"),
    "packed": request(
        "POST", "/predict", gzip.compress(json.dumps(GOOD).encode()), Content_Encoding="gzip"
    ),
    "a long body": request("POST", "/predict", {"rows": [ROW] * 1_000}),
    "many rows, lenient": request(
        "POST", "/predict", {"rows": [ROW] * 99}, Prefer="handling=lenient"
    ),
    "a long head": request("GET", "/latest/BTC-USD", User_Agent="x" * 4_000),
    "a name in percents": request("GET", "/latest/BTC%2DUSD"),
    "a body nobody wants": request("GET", "/latest/BTC-USD", b"{}"),
    "two of a kind": request("GET", "/latest/BTC-USD", Accept="*/*", accept="text/html"),
}


async def test_requests_that_are_not_plain_go_to_the_middleware(
    fast: Counter[str], minutes: Path
) -> None:
    """They are answered each time as the first time."""
    async with talking(**replay_of(minutes)) as (client, daemon):
        await replayed(daemon, minutes)
        for name, asked in LONG.items():
            first = await client.exchange(asked)
            again = await client.exchange(asked)
            assert again.status == first.status, name
            assert {n for n, _ in again.headers} == {n for n, _ in first.headers}, name
            assert not fast, name
        assert dict((await client.exchange(LONG["an id"])).headers)["x-request-id"] == "mine"
        assert not fast
        assert (await client.exchange(SAME["newest"])).status == 200
        assert (
            await client.exchange(request("GET", "/latest/BTC-USD", Connection="close"))
        ).status == 200
        assert await client.closed()
    assert not fast


async def test_requests_cut_and_joined_anywhere(fast: Counter[str]) -> None:
    """Requests in pieces or joined in one packet are each answered once, in order."""
    rng = random.Random(5)
    kinds: list[Callable[[int], tuple[bytes, str]]] = [
        lambda k: (request("GET", f"/latest/NO-{k}"), f"NO-{k}"),
        lambda k: (request("GET", f"/latest/NO-{k}", X_Request_ID="a"), f"NO-{k}"),
        lambda k: (
            request("POST", "/predict", {**GOOD, "horizon_s": 60 + k}),
            f'"horizon_s":{60 + k}.0',
        ),
        lambda k: (request("POST", "/predict", b"{}", Prefer=f"x={k}"), "rows"),
        lambda k: (request("POST", f"/nowhere-{k}", b"{}"), "not-found"),
    ]
    async with serving() as (client, _):
        base = client._base_url
        assert base is not None
        for chopping in range(150):
            reader, writer = await asyncio.open_connection(base.host, base.port)
            raw = RawClient(reader, writer)
            pairs = [rng.choice(kinds)(rng.randrange(4)) for _ in range(12)]
            left = list(pairs)
            while left:
                # Some of what is to come, whole or cut anywhere, before the answers are read.
                taken = [left.pop(0) for _ in range(min(len(left), rng.choice((1, 1, 1, 1, 2, 3))))]
                data = b"".join(asked for asked, _ in taken)
                cuts = sorted(rng.sample(range(1, len(data)), rng.choice((0, 0, 0, 0, 1, 2))))
                for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                    writer.write(data[start:end])
                    await writer.drain()
                    for _ in range(rng.choice((0, 1, 5))):
                        await asyncio.sleep(0)
                for _, mark in taken:
                    answer = await raw.receive()
                    assert mark in answer.body.decode(), (chopping, pairs)
            writer.close()
    assert fast["/latest/{symbol}"] > 20
    assert fast["/predict"] > 20


@pytest.mark.parametrize(
    "parts",
    [
        # A head that begins behind a body must be ended by what comes next, and by nothing else.
        (
            request("POST", "/predict", GOOD) + b"GET /ping HTTP/1.1\r\nHost: a\r\nX-",
            b"A: b\r\n\r\n",
        ),
        (SAME["rows"] + b"GET /ping HTTP/1.1\r\nX: ", SAME["newest"]),
    ],
)
async def test_a_head_that_has_begun(parts: tuple[bytes, ...], fast: Counter[str]) -> None:
    """While the parser holds the start of a request, further bytes belong to that request."""
    async with talking() as (client, _):
        assert (await client.exchange(SAME["newest"])).status == 404
        assert (await client.exchange(SAME["newest"])).status == 404
        assert fast["/latest/{symbol}"] == 1
        assert (await client.exchange(parts[0])).status == 200
        assert (await client.exchange(parts[1])).status == 200
        assert fast["/latest/{symbol}"] == 1


async def test_keys_and_quotas(fast: Counter[str]) -> None:
    """The key is checked each time, and both paths use up one quota."""
    few, _ = new_key("few", ("predict",))
    keys = (*KEYS, entry("few", few, "predict", rate_per_minute=4))
    async with talking(auth={"keys": keys}) as (client, daemon):
        asked = request("POST", "/predict", GOOD, **bearer(CALLER))
        assert [(await client.exchange(asked)).status for _ in range(3)] == [200] * 3
        wrong = request("POST", "/predict", GOOD, **bearer(READER))
        assert [(await client.exchange(wrong)).status for _ in range(3)] == [403] * 3
        none = request("POST", "/predict", GOOD)
        answer = [await client.exchange(none) for _ in range(2)]
        assert answer[0].settled() == answer[1].settled()
        assert (answer[1].status, dict(answer[1].headers)["www-authenticate"][:6]) == (
            401,
            "Bearer",
        )
        limited = request("POST", "/predict", GOOD, **bearer(few))
        answers = [await client.exchange(limited) for _ in range(6)]
        assert [answer.status for answer in answers] == [200] * 4 + [429] * 2
        lefts = [dict(answer.headers)["ratelimit"].split(";")[1] for answer in answers]
        assert lefts == ["r=3", "r=2", "r=1", "r=0", "r=0", "r=0"]
        assert dict(answers[-1].headers)["retry-after"]
        assert fast["/predict"] == 2 + 2 + 1 + 5
        fresh = load_settings(None, {"auth": {"keys": [k for k in keys if k["name"] != "caller"]}})
        parts_of(daemon).keyring.replace(fresh.auth)
        assert (await client.exchange(asked)).status == 401, "the key is gone"
    assert fast["/predict"] == 11


async def test_a_failure_of_ours(fast: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An internal error is 500 without its cause; the log has cause, request id and symbol."""
    lines = io.StringIO()
    configure_logs("debug", "json", lines)
    async with talking() as (client, _):
        asked = request("POST", "/predict", GOOD)
        assert (await client.exchange(asked)).status == 200

        def fail(job: predict.PredictJob) -> Any:
            raise ZeroDivisionError("a secret")

        monkeypatch.setattr(predict, "answer", fail)
        answer = await client.exchange(asked)
        assert fast["/predict"] == 1
        assert answer.status == 500
        assert b"secret" not in answer.body
        request_id = dict(answer.headers)["x-request-id"]
        assert json.loads(answer.body)["request_id"] == request_id
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    mine = {e["event"]: e for e in events if e.get("request_id") == request_id}
    assert "ZeroDivisionError" in mine["request_failed"]["exception"]
    assert (mine["request"]["route"], mine["request"]["status"]) == ("/predict", 500)


@pytest.mark.usefixtures("loop_clock")
async def test_an_idle_connection_is_closed_after_its_last_request(fast: Counter[str]) -> None:
    """The fast path keeps an idle connection open as long as the middleware does."""
    loop = asyncio.get_running_loop()
    async with talking(http={"keepalive_timeout_s": 0.6}) as (client, _):
        for _ in range(15):
            await asyncio.sleep(0.1)
            assert (await client.exchange(SAME["unknown"])).status == 404
        last = loop.time()
        assert await client.closed()
        assert 0.5 < loop.time() - last < 5
    assert fast["/latest/{symbol}"] > 10


async def test_answers_to_a_client_that_does_not_read_are_bounded(fast: Counter[str]) -> None:
    """Answers that a client does not read do not pile up in memory."""
    async with talking() as (client, daemon):
        writer = client.writer
        asked = request("POST", "/predict", {"rows": [ROW] * 200})
        assert (await client.exchange(asked)).status == 200
        assert daemon._server is not None
        mine = writer.get_extra_info("sockname")
        (connection,) = [
            each
            for each in daemon._server._connections()
            if isinstance(each, Connection) and each.peername == mine
        ]

        async def stuck() -> bool:
            # One at a time, so that each comes by itself.
            if writer.transport.get_write_buffer_size() == 0:
                writer.write(asked)
            await asyncio.sleep(0)
            return connection.writing_paused

        async with asyncio.timeout(60):
            while not await stuck():
                pass
        before = fast["/predict"]
        for _ in range(200):
            await stuck()
        assert fast["/predict"] == before
        assert connection.transport is not None
        assert connection.transport.get_write_buffer_size() < 2**20
        writer.transport.abort()
