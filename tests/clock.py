"""The fixture `loop_clock`: the event loop moves its clock instead of waiting.

For tests whose daemons, servers and clients all run in their own event loop: nothing happens while
it waits, except that a thread ends or that data arrive over loopback. Other processes do not know
the clock, and some code keeps a clock of its own: `volsvc.sources.pacing` and aiohttp's pool of
connections, which bind `time.monotonic` when they are imported.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

# Loopback may take a moment on a busy machine. Each wait really lasts as long, or less.
SETTLE_S = 0.001


class _Selector(selectors.DefaultSelector):
    """Returns from a wait at once, and counts the seconds not waited."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_s = 0.0
        # The calls that threads work on.
        self.calls: set[asyncio.Future[Any]] = set()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= SETTLE_S or self.calls:
            return super().select(timeout)
        ready = super().select(SETTLE_S)
        if not ready:
            self.skipped_s += timeout - SETTLE_S
        return ready


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop that does not wait for its timers while nothing else happens."""

    def __init__(self) -> None:
        self.moving = _Selector()
        super().__init__(self.moving)

    def run_in_executor(self, *call: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run a call in a thread; until its end, waits last as long as they say."""
        future = super().run_in_executor(*call)
        self.moving.calls.add(future)
        future.add_done_callback(self.moving.calls.discard)
        return future


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose the event loop of a test, by whether it requests `loop_clock`."""
    chosen = "loop_clock" in getattr(item, "fixturenames", ())
    return {"loop": ClockLoop if chosen else asyncio.new_event_loop}


@pytest.fixture
async def loop_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Move the clocks of `time` with that of the test's event loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ClockLoop)
    selector = loop.moving

    def move(name: str) -> None:
        seconds, ns = getattr(time, name), getattr(time, f"{name}_ns")
        monkeypatch.setattr(time, name, lambda: seconds() + selector.skipped_s)
        monkeypatch.setattr(time, f"{name}_ns", lambda: ns() + round(selector.skipped_s * 1e9))

    for name in ("time", "monotonic", "perf_counter"):
        move(name)
