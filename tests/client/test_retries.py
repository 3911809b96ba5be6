"""When a call is made again, after how long, and when it is given up."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.scripted import Said, scripted
from tests.daemon import RunningDaemon, eventually
from tests.kafka.broker import free_port
from tests.kafka.proxy import proxy_to
from tests.web.serving import ROW, serving
from tests.web.test_auth import READER, entry
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
from volsvc.client.retries import Patience, retry_after_s

QUICK = Retries(attempts=4, base_s=0.01, max_s=0.05)
OK = Said(body=b'{"status": "ok", "checks": {}}')


def busy(retry_after: str | None = None, status: int = 429) -> Said:
    return Said(status, b"later", {} if retry_after is None else {"Retry-After": retry_after})


@given(
    attempts=st.integers(1, 12),
    base_s=st.floats(0.001, 1),
    max_s=st.floats(0.001, 60),
    asked_s=st.floats(0, 20),
)
def test_waits_are_bounded(attempts: int, base_s: float, max_s: float, asked_s: float) -> None:
    """A wait is what was asked for and the backoff at most, and there are attempts - 1 of them."""
    patience = Patience(Retries(attempts, base_s, max_s, longest_wait_s=20))
    error = error_of(429, b"", asked_s)
    for made in range(attempts - 1):
        wait_s = patience.wait_s(error)
        assert asked_s <= wait_s <= asked_s + min(max_s, base_s * 2**made) + 1e-9
    with pytest.raises(BusyError):
        patience.wait_s(error)
    patience.reset()
    if attempts > 1:
        assert patience.wait_s(error) <= asked_s + min(max_s, base_s) + 1e-9


@pytest.mark.parametrize(
    ("status", "repeatable", "again"),
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
def test_what_is_tried_again(status: int, repeatable: bool, again: bool) -> None:
    """What may pass is tried again; what was refused for good, or may be done by now, is not."""
    patience = Patience(QUICK)
    error = error_of(status, b"", None)
    if again:
        patience.wait_s(error, repeatable=repeatable)
    else:
        with pytest.raises(type(error)):
            patience.wait_s(error, repeatable=repeatable)


def test_retry_after_is_a_number_or_a_date() -> None:
    """Both forms of the header are read; what is neither counts as absent."""
    assert retry_after_s("7") == 7.0
    assert retry_after_s(" 0 ") == 0.0
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 < (retry_after_s(soon) or 0) <= 60
    assert retry_after_s(formatdate(0, usegmt=True)) == 0.0
    assert [retry_after_s(text) for text in (None, "", "-1", "soon", "1.5", "²")] == [None] * 6


async def test_it_waits_as_long_as_it_is_asked() -> None:
    """After a Retry-After the next attempt comes no sooner, and then its answer counts."""
    answers = scripted(busy("1"), busy("0", 503), OK)
    async with answers as script, AsyncClient(script.url, retries=QUICK) as client:
        began = time.monotonic()
        assert (await client.health()).status == "ok"
        assert time.monotonic() - began >= 1.0
        assert client.retried == len(script.asked) - 1 == 2


async def test_a_long_wait_is_told_at_once() -> None:
    """When more is asked for than the caller will wait, the error comes without a second try."""
    async with scripted(busy("31")) as script, AsyncClient(script.url) as client:
        with pytest.raises(BusyError) as caught:
            await client.version()
        assert caught.value.retry_after_s == 31.0
        assert len(script.asked) == 1


async def test_it_gives_up() -> None:
    """After the last attempt the error is that of the last answer, a proxy's page included."""
    page = Said(502, b"<html>bad gateway</html>")
    async with scripted(page) as script, AsyncClient(script.url, retries=QUICK) as client:
        with pytest.raises(UnavailableError, match="bad gateway"):
            await client.predict([ROW])
        assert len(script.asked) == QUICK.attempts
        with pytest.raises(UnavailableError):
            await client.rollback()
        assert len(script.asked) == QUICK.attempts + 1, "it may be done by now"


async def test_a_broken_answer_is_none() -> None:
    """An answer that breaks off is asked for again, but for a rollback."""
    torn = Said(body=b'{"status": ', cut=True)
    answers = scripted(torn, OK, torn)
    async with answers as script, AsyncClient(script.url, retries=QUICK) as client:
        assert (await client.health()).status == "ok"
        with pytest.raises(UnreachableError):
            await client.rollback()
    assert len(script.asked) == 3


async def test_a_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's own quota: the caller hears when to come back, and what is over is no error."""
    monkeypatch.chdir(tmp_path)
    keys = (entry("reader", READER, "read", rate_per_minute=60),)
    async with serving({"auth": {"keys": keys}}) as (session, _):
        url, hasty = str(session._base_url), Retries(attempts=1)
        async with AsyncClient(url, READER, retries=hasty) as client:
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
    """Calls made while nothing gets through are answered once it does; others fail in time."""
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
        async with asyncio.timeout(15):
            assert len((await waiting).scores) == 1
        proxy.swallow()
        async with AsyncClient(url, timeout_s=0.2, retries=QUICK) as hasty:
            with pytest.raises(UnreachableError, match="no answer in time"):
                await hasty.version()
            assert hasty.retried == QUICK.attempts - 1


async def test_nobody_is_there() -> None:
    """An address where nobody listens is named in the error."""
    url = f"http://127.0.0.1:{free_port()}"
    async with AsyncClient(url, retries=QUICK) as client:
        with pytest.raises(UnreachableError, match=url):
            await client.health()
    assert issubclass(UnreachableError, ClientError)
    assert not issubclass(UnreachableError, InvalidRequestError)
