"""Tests of streams: no event is lost or repeated, whatever happens to the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.scripted import Reply, scripted
from tests.kafka.broker import free_port
from tests.kafka.proxy import proxy_to
from tests.sse import Reader
from tests.web.serving import serving
from tests.web.test_stream import snapshot
from volsvc.client import (
    AsyncClient,
    BusyError,
    Dropped,
    Event,
    Gap,
    InvalidRequestError,
    Resync,
    Retries,
    UnexpectedAnswerError,
    UnreachableError,
)
from volsvc.client import events as parsing
from volsvc.client.events import EventParser
from volsvc.daemon.daemon import Daemon
from volsvc.daemon.stream_events import publish_gap
from volsvc.web.schemas.stream import EVENTS

QUICK = Retries(attempts=6, base_s=0.01, max_s=0.05)
STREAM = {"Content-Type": "text/event-stream"}
GAP = '{"symbol":"BTC-USD","at":"2026-01-05T14:20:00Z","gaps":%d}'


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def gap(number: int) -> bytes:
    return f"id: boot-{number}\nevent: gap\ndata: {GAP % number}\n\n".encode()


async def take(stream: AsyncGenerator[Event, None], count: int) -> list[Event]:
    """Return so many events; raises TimeoutError if they do not arrive."""
    async with asyncio.timeout(60):
        return [await anext(stream) for _ in range(count)]


async def first_of(client: AsyncClient, count: int, last_id: str | None = None) -> list[Event]:
    """Return the first events of a stream, then close it."""
    async with aclosing(client.stream(last_id=last_id)) as stream:
        return await take(stream, count)


def notify_gaps(daemon: Daemon, first: int, count: int) -> None:
    """Publish gaps with the numbers from `first` on."""
    for number in range(first, first + count):
        news = {"symbol": "BTC-USD", "at": "2026-01-05T14:20:00Z", "gaps": number}
        daemon.services.latest_store.notify("gap", "BTC-USD", news)


@given(
    numbers=st.lists(st.integers(0, 99), max_size=8),
    cuts=st.lists(st.integers(0, 2_000), max_size=12),
    ends=st.sampled_from(["\n", "\r\n"]),
)
def test_the_parser_takes_any_chunks(numbers: list[int], cuts: list[int], ends: str) -> None:
    """A stream in chunks of any sizes gives the same events, ids and retry time."""
    noise = b": still here\n\nretry: 1500\n\nevent: of-tomorrow\ndata: {}\n\n"
    text = (noise + b"".join(map(gap, numbers))).replace(b"\n", ends.encode())
    parser, got, edges = EventParser(), [], sorted({0, len(text), *(c % len(text) for c in cuts)})
    for start, end in pairwise(edges):
        got += parser.feed(text[start:end])
    assert [event.data for event in got] == [
        Gap(symbol="BTC-USD", at="2026-01-05T14:20:00Z", gaps=number) for number in numbers
    ]
    assert [event.id for event in got] == [f"boot-{number}" for number in numbers]
    assert parser.retry_s == 1.5
    assert parser.last_id == (f"boot-{numbers[-1]}" if numbers else None)


def test_errors_of_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A known event with wrong fields, and a line without end, are errors."""
    with pytest.raises(UnexpectedAnswerError, match="'dropped' cannot be read"):
        EventParser().feed(b'event: dropped\ndata: {"dropped": "many"}\n\n')
    monkeypatch.setattr(parsing, "MAX_LINE_BYTES", 100)
    with pytest.raises(UnexpectedAnswerError, match="longer than 100 bytes"):
        EventParser().feed(b"data: " + b"x" * 100)
    with pytest.raises(UnexpectedAnswerError, match="an event is longer than 100 bytes"):
        EventParser().feed(b"data: x\n" * 60)
    with pytest.raises(UnexpectedAnswerError, match="not UTF-8"):
        EventParser().feed(b"data: \xff\n")


async def test_every_event_has_a_schema() -> None:
    """Each kind of event that the service sends matches its schema exactly."""
    async with serving() as (session, daemon), session.get("/stream") as response:
        reader = Reader(response)
        daemon.services.latest_store.put(snapshot("BTC-USD"), 1.0)
        publish_gap(daemon.services.hub, "BTC-USD", "trades", 3)
        notify_gaps(daemon, 1, 1)
        await daemon.services.controller.activate("ml", None, "route")
        assert daemon.services.drift is not None
        daemon.services.drift.listener(
            {"end": "2026-01-06T00:00:00Z", "drifted": ["level"], "rows": 720}
        )
        events = await reader.take(6)
    for event in events:
        EVENTS[event.kind].model_validate(event.data, strict=True)
    assert {event.kind for event in events} == set(EVENTS) - {"dropped"}


@pytest.mark.usefixtures("loop_clock")
async def test_resume_after_a_break() -> None:
    """Every event arrives once and in order over a connection that is reset repeatedly."""
    async with serving() as (session, daemon):
        base, port = session._base_url, free_port()
        assert base is not None
        assert base.port is not None
        client = AsyncClient(f"http://127.0.0.1:{port}", retries=QUICK)
        async with proxy_to(port, base.port) as proxy, client, aclosing(client.stream()) as stream:
            (first,) = await take(stream, 1)
            assert isinstance(first.data, Resync)
            got: list[Event] = []
            for start in (1, 11):
                notify_gaps(daemon, start, 5)
                got += await take(stream, 5)
                proxy.reset()
                # A resume must bring the events of the time without a connection.
                notify_gaps(daemon, start + 5, 5)
                got += await take(stream, 5)
    assert [e.data.gaps for e in got if isinstance(e.data, Gap)] == list(range(1, 21))
    assert client.retried >= 2


@pytest.mark.usefixtures("loop_clock")
async def test_restart_of_the_service() -> None:
    """The id of an earlier run is unknown to the service, which sends a snapshot instead."""
    port = free_port()
    client = AsyncClient(
        f"http://127.0.0.1:{port}", retries=Retries(attempts=100, base_s=0.05, max_s=0.1)
    )
    async with client, aclosing(client.stream(["BTC-USD"])) as stream:
        async with serving({"http": {"port": port}}) as (_, daemon):
            daemon.services.latest_store.put(snapshot("BTC-USD", 1.0), 1.0)
            first = await take(stream, 1)
        async with serving({"http": {"port": port}}) as (_, daemon):
            daemon.services.latest_store.put(snapshot("BTC-USD", 2.0), 1.0)
            (second,) = await take(stream, 1)
    reasons = [e.data.reason for e in (*first, second) if isinstance(e.data, Resync)]
    assert reasons == ["start", "unknown-id"]
    assert isinstance(second.data, Resync)
    assert [one.price for one in second.data.symbols] == [2.0]


async def test_a_cut_event_is_requested_again() -> None:
    """After a break inside an event the stream is resumed after the last whole event."""
    whole, half = gap(1), gap(2)[:-10]
    answers = (
        Reply(200, whole + half, STREAM, cut=True),
        Reply(200, gap(2) + gap(3), STREAM),
    )
    async with scripted(*answers) as script, AsyncClient(script.url, retries=QUICK) as client:
        events = await first_of(client, 3, "boot-0")
    assert [event.id for event in events] == ["boot-1", "boot-2", "boot-3"]
    asked = [request.headers["Last-Event-ID"] for request in script.requests[:2]]
    assert asked == ["boot-0", "boot-1"]


async def test_events_without_an_id() -> None:
    """An event without an id keeps the last id; one of an unknown kind is ignored but sets it."""
    body = gap(7) + b'event: dropped\ndata: {"dropped": 4, "why": "slow"}\n\n'
    newer = b"id: boot-8\nevent: of-tomorrow\ndata: [1]\n\n"
    answers = (Reply(200, body + newer, STREAM), Reply(200, gap(9), STREAM))
    async with scripted(*answers) as script, AsyncClient(script.url, retries=QUICK) as client:
        events = await first_of(client, 3)
    assert [(event.kind, event.id) for event in events] == [
        ("gap", "boot-7"),
        ("dropped", "boot-7"),
        ("gap", "boot-9"),
    ]
    assert events[1].data == Dropped(dropped=4)
    assert script.requests[1].headers["Last-Event-ID"] == "boot-8"


async def test_refused_streams() -> None:
    """A refused stream raises its error: an invalid filter, a stream too many, an early end."""
    async with serving({"http": {"max_streams": 1}}) as (session, _):
        impatient = Retries(attempts=1)
        async with AsyncClient(str(session._base_url), retries=impatient) as client:
            async with aclosing(client.stream()) as first, aclosing(client.stream()) as second:
                await take(first, 1)
                with pytest.raises(BusyError, match="1 streams are open"):
                    await take(second, 1)
            with pytest.raises(InvalidRequestError, match="#/symbols"):
                await anext(client.stream(["a b"]))
    nothing = scripted(Reply(200, b": nothing\n\n", STREAM))
    async with nothing as script, AsyncClient(script.url, retries=QUICK) as client:
        with pytest.raises(UnreachableError, match="ended"):
            await first_of(client, 1)
    assert len(script.requests) == QUICK.attempts, "an empty stream is no success"
