"""Restarts, backoff, health, logs and the board."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest
import structlog

from volsvc.backoff import Backoff
from volsvc.daemon.supervisor import finish, supervise
from volsvc.domain import (
    BusError,
    BusUnavailableError,
    FeatureRow,
    Quality,
    Snapshot,
    UnknownSymbolError,
)
from volsvc.pipeline.latest_store import LatestStore
from volsvc.telemetry.health import Health
from volsvc.telemetry.logs import configure_logs, get_logger, log_scope


class Listener:
    """Counts restarts."""

    def __init__(self) -> None:
        self.restarts: list[str] = []

    def restarting(self, part: str, error: BaseException, delay_s: float) -> None:
        self.restarts.append(part)


async def test_a_part_that_loses_a_cancellation_ends_all_the_same() -> None:
    """It is asked again, for as long as it runs."""
    asked = 0

    async def deaf() -> None:
        nonlocal asked
        while asked < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                asked += 1

    async with asyncio.timeout(10):
        task = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        await finish(task, within_s=0, again_s=0.01)
    assert (asked, task.done()) == (3, True)


async def test_a_transient_error_restarts_the_part() -> None:
    """The part runs again until it ends by itself."""
    listener, runs = Listener(), []

    async def part() -> None:
        runs.append(1)
        if len(runs) < 4:
            raise BusUnavailableError("away")

    await supervise("consumer", part, Backoff(0.001, 0.002), listener)
    assert len(runs) == 4
    assert listener.restarts == ["consumer"] * 3


@pytest.mark.parametrize("error", [BusError("never"), ValueError("a bug")])
async def test_any_other_error_is_fatal(error: Exception) -> None:
    """What another run cannot mend is raised at once."""

    async def part() -> None:
        raise error

    with pytest.raises(type(error)):
        await supervise("consumer", part, Backoff(0.001, 0.002), Listener())


async def test_a_cancelled_task_beneath_restarts_the_part() -> None:
    """A library's task that was cancelled takes the part that waits for it along only for now."""
    listener, runs = Listener(), []

    async def part() -> None:
        runs.append(1)
        if len(runs) < 3:
            beneath = asyncio.ensure_future(asyncio.sleep(9))
            beneath.cancel()
            await beneath

    await supervise("replica", part, Backoff(0.001, 0.002), listener)
    assert listener.restarts == ["replica"] * 2


async def test_a_part_ends_when_it_is_cancelled() -> None:
    """Cancelling what runs a part ends it, and no restart follows."""
    listener, started = Listener(), asyncio.Event()

    async def part() -> None:
        started.set()
        await asyncio.sleep(9)

    task = asyncio.ensure_future(supervise("replica", part, Backoff(0.001, 0.002), listener))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not listener.restarts


def test_backoff_grows_jitters_and_is_bounded() -> None:
    """The ceiling doubles up to the maximum; delays spread below it; a reset starts anew."""
    for attempt in range(12):
        delays = set()
        for _ in range(200):
            backoff = Backoff(0.1, 5.0)
            for _ in range(attempt):
                backoff.delay_s()
            delays.add(backoff.delay_s())
        ceiling = min(5.0, 0.1 * 2**attempt)
        assert max(delays) <= ceiling
        assert max(delays) > 0.8 * ceiling
        assert min(delays) < 0.2 * ceiling
    backoff = Backoff(0.1, 5.0)
    assert all(backoff.delay_s() <= 5.0 for _ in range(5_000))
    backoff.reset()
    assert backoff.delay_s() <= 0.1


def test_health_is_the_worst_of_its_parts() -> None:
    """A part's change of state is reported once."""
    health = Health()
    assert health.report("kafka", "degraded", "away")
    assert not health.report("kafka", "degraded", "still away")
    health.report("model", "ok")
    worst = [health.status]
    health.report("consumer", "fail", "gone")
    worst.append(health.status)
    assert worst == ["degraded", "fail"]


def test_board() -> None:
    """The newest snapshot of a symbol, with its age; unknown symbols name their neighbours."""
    row = FeatureRow("BTC-USD", 1, 1.0, 0.0, 0.0, 0, 0.0)
    quality = Quality(0, 0, 0, 0.0, "warming")
    latest_store = LatestStore()
    latest_store.post(Snapshot(row, 0.5, "baseline", "1", (), quality, {}), 100.0)
    assert latest_store.get("BTC-USD").age_s(103.0) == 3.0
    with pytest.raises(UnknownSymbolError, match="BTC-USD"):
        latest_store.get("BTC-US")


def test_one_event_is_one_line_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our events and those of libraries have one style, with what is bound to the context."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    out = io.StringIO()
    try:
        configure_logs("info", "json", out)
        scope = log_scope.set(lambda: {"request_id": "abc"})
        get_logger("volsvc.test").info("swap", variant="ml")
        get_logger("volsvc.test").debug("not shown")
        get_logger("volsvc.test").error("failed", exc_info=ValueError("two\nlines"))
        log_scope.reset(scope)
        logging.getLogger("some.library").warning("careful: %s", "x")
    finally:
        structlog.reset_defaults()
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [e["event"] for e in events] == ["swap", "failed", "careful: x"]
    assert (events[0]["request_id"], events[0]["variant"]) == ("abc", "ml")
    assert all({"level", "logger", "timestamp"} <= set(e) for e in events)
    assert "two\nlines" in events[1]["exception"]
