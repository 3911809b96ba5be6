"""Tests of retries: their conditions, their waits and their end."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.scripted import Reply, scripted
from tests.daemon import RunningDaemon, eventually
from tests.kafka.broker import free_port
from tests.kafka.proxy import proxy_to
from tests.web.serving import ROW, serving
from tests.web.test_auth import READER, entry
from volsvc.backoff import retry_after_s
from volsvc.client import (
    AsyncClient,
    BusyError,
    ClientError,
    InvalidRequestError,
    Retries,
    UnavailableError,
    UnreachableError,
)
from volsvc.client.errors import error_of
from volsvc.client.retries import RetryState

QUICK = Retries(attempts=4, base_s=0.01, max_s=0.05)
OK = Reply(body=b'{"status": "ok", "checks": {}}')


def busy(retry_after: str | None = None, status: int = 429) -> Reply:
    return Reply(status, b"later", {} if retry_after is None else {"Retry-After": retry_after})


@given(
    attempts=st.integers(1, 12),
    base_s=st.floats(0.001, 1),
    max_s=st.floats(0.001, 60),
    asked_s=st.floats(0, 20),
)
def test_waits_are_bounded(attempts: int, base_s: float, max_s: float, asked_s: float) -> None:
    """There are attempts - 1 waits, each at most the requested time plus the backoff."""
    state = RetryState(Retries(attempts, base_s, max_s, longest_wait_s=20))
    error = error_of(429, b"", asked_s)
    for made in range(attempts - 1):
        wait_s = state.wait_s(error)
        assert asked_s <= wait_s <= asked_s + min(max_s, base_s * 2**made) + 1e-9
    with pytest.raises(BusyError):
        state.wait_s(error)
    state.reset()
    if attempts > 1:
        assert state.wait_s(error) <= asked_s + min(max_s, base_s) + 1e-9


@pytest.mark.parametrize(
    ("status", "idempotent", "again"),
    [
        (429, True, True),
        (429, False, True),
        (503, True, True),
        (503, False, False),
        (502, True, True),
        (504, True, True),
        (500, True, False),
        (422, True, False),
        (401, True, False),
        (409, True, False),
    ],
)
def test_conditions_of_a_retry(status: int, idempotent: bool, again: bool) -> None:
    """Transient errors are retried; refusals, and calls that may have had their effect, are not."""
    state = RetryState(QUICK)
    error = error_of(status, b"", None)
    if again:
        state.wait_s(error, idempotent=idempotent)
    else:
        with pytest.raises(type(error)):
            state.wait_s(error, idempotent=idempotent)


def test_retry_after_is_a_number_or_a_date() -> None:
    """Both forms of the header are parsed; any other value counts as absent."""
    assert retry_after_s("7") == 7.0
    assert retry_after_s(" 0 ") == 0.0
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 < (retry_after_s(soon) or 0) <= 60
    assert retry_after_s(formatdate(0, usegmt=True)) == 0.0
    assert retry_after_s("1.5") == 1.5
    wrong = (None, "", "-1", "soon", "1_0", "²", "nan", "inf", "1e3")
    assert [retry_after_s(text) for text in wrong] == [None] * len(wrong)


@pytest.mark.usefixtures("loop_clock")
async def test_retry_after_is_respected() -> None:
    """The next attempt is made no sooner than Retry-After allows."""
    answers = scripted(busy("1"), busy("0", 503), OK)
    async with answers as script, AsyncClient(script.url, retries=QUICK) as client:
        began = time.monotonic()
        assert (await client.health()).status == "ok"
        assert time.monotonic() - began >= 1.0
        assert client.retried == len(script.requests) - 1 == 2


async def test_a_long_wait_is_an_error() -> None:
    """A Retry-After above the limit raises the error without a second attempt."""
    async with scripted(busy("31")) as script, AsyncClient(script.url) as client:
        with pytest.raises(BusyError) as caught:
            await client.version()
        assert caught.value.retry_after_s == 31.0
        assert len(script.requests) == 1


async def test_it_gives_up() -> None:
    """After the last attempt the error of the last answer is raised, a proxy's page included."""
    page = Reply(502, b"<html>bad gateway</html>")
    async with scripted(page) as script, AsyncClient(script.url, retries=QUICK) as client:
        with pytest.raises(UnavailableError, match="bad gateway"):
            await client.predict([ROW])
        assert len(script.requests) == QUICK.attempts
        with pytest.raises(UnavailableError):
            await client.rollback()
        assert len(script.requests) == QUICK.attempts + 1, "it may have had its effect"


async def test_a_broken_answer() -> None:
    """A call with an incomplete answer is retried, except for a rollback."""
    cut = Reply(body=b'{"status": ', cut=True)
    answers = scripted(cut, OK, cut)
    async with answers as script, AsyncClient(script.url, retries=QUICK) as client:
        assert (await client.health()).status == "ok"
        with pytest.raises(UnreachableError):
            await client.rollback()
    assert len(script.requests) == 3


@pytest.mark.usefixtures("loop_clock")
async def test_a_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a used-up quota has the time to wait, and after it calls succeed."""
    monkeypatch.chdir(tmp_path)
    keys = (entry("reader", READER, "read", rate_per_minute=60),)
    async with serving({"auth": {"keys": keys}}) as (session, _):
        url, impatient = str(session._base_url), Retries(attempts=1)
        async with AsyncClient(url, READER, retries=impatient) as client:
            for _ in range(60):
                await client.version()
            with pytest.raises(BusyError, match="quota") as caught:
                await client.version()
            assert caught.value.kind == "rate-limited"
            assert (caught.value.retry_after_s or 0) >= 1
        async with AsyncClient(url, READER, retries=QUICK) as patient:
            assert (await patient.version()).model
            assert patient.retried >= 1


async def test_a_network_that_comes_back(daemon: RunningDaemon) -> None:
    """Calls during an outage are answered after it; without an end of it they fail in time."""
    port = free_port()
    target = int(daemon.url.rpartition(":")[2])
    url = f"http://127.0.0.1:{port}"
    patient = Retries(attempts=50, base_s=0.05, max_s=0.2)
    async with proxy_to(port, target) as proxy, AsyncClient(url, retries=patient) as client:
        await client.version()
        proxy.go_away()
        waiting = asyncio.create_task(client.predict([ROW]))

        async def tries() -> bool:
            return client.retried > 0

        await eventually(tries, 10, "the client tries again")
        proxy.heal()
        async with asyncio.timeout(60):
            assert len((await waiting).scores) == 1
        proxy.swallow()
        async with AsyncClient(url, timeout_s=0.2, retries=QUICK) as impatient:
            with pytest.raises(UnreachableError, match="no answer in time"):
                await impatient.version()
            assert impatient.retried == QUICK.attempts - 1


async def test_nothing_listens() -> None:
    """The error names an address at which nothing listens."""
    url = f"http://127.0.0.1:{free_port()}"
    async with AsyncClient(url, retries=QUICK) as client:
        with pytest.raises(UnreachableError, match=url):
            await client.health()
    assert issubclass(UnreachableError, ClientError)
    assert not issubclass(UnreachableError, InvalidRequestError)
