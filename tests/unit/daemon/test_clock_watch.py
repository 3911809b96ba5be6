"""A clock that is set shows in health, and what was known before stays."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import eventually
from tests.web.serving import serving
from volsvc.daemon import clock_watch
from volsvc.daemon.clock_watch import SHOWN_S, ClockWatch
from volsvc.telemetry.health import Health


class Clocks:
    """The clocks of `time`, moved by a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set_s = self.passed_s = 0.0
        wall_s, wall_ns, monotonic_s = time.time, time.time_ns, time.monotonic
        monkeypatch.setattr(time, "time", lambda: wall_s() + self.passed_s + self.set_s)
        moved_ns = lambda: wall_ns() + round((self.passed_s + self.set_s) * 1e9)  # noqa: E731
        monkeypatch.setattr(time, "time_ns", moved_ns)
        monkeypatch.setattr(time, "monotonic", lambda: monotonic_s() + self.passed_s)


@pytest.mark.parametrize(
    ("set_s", "words"), [(-7_200, "went back by 7200 s"), (3_600, "went forward by 3600 s")]
)
def test_a_jump_shows_for_a_while(
    set_s: float, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time that passes and small steps are no jump."""
    clocks, health = Clocks(monkeypatch), Health()
    watch = ClockWatch(health)

    def status() -> str:
        watch.check()
        return health.checks["clock"].status if "clock" in health.checks else ""

    for clocks.passed_s in (0.5, 3_600.5):
        assert not status()
    clocks.set_s = clock_watch.JUMP_S / 2
    assert not status()
    clocks.set_s += set_s
    assert status() == "degraded"
    assert words in health.checks["clock"].detail
    clocks.passed_s += SHOWN_S - 1
    assert status() == "degraded"
    clocks.passed_s += 1
    assert status() == "ok"


async def test_a_daemon_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its past stays, and ticks are taken as before."""
    monkeypatch.chdir(tmp_path)
    clocks = Clocks(monkeypatch)
    settings: Mapping[str, Any] = {"source": {"kind": "replay"}, "warmup": {"days": 1}}
    async with serving(settings) as (client, _):

        async def get(path: str) -> Any:
            async with client.get(path) as response:
                assert response.status == 200, path
                return await response.json()

        async def minutes() -> bool:
            return len((await get("/history/BTC-USD?step=1m"))["rows"]) >= 1_000

        async def taken() -> float:
            return float((await get("/latest/BTC-USD"))["quality"]["ticks"])

        async def clock() -> str:
            check = (await get("/health"))["checks"].get("clock", {})
            return f"{check.get('status')}: {check.get('detail')}"

        async def goes_on() -> bool:
            return await taken() > before + 3

        await eventually(minutes, 20, "the past is kept")
        for clocks.set_s, words in (
            (-7_200, "went back by 7200 s"),
            (7_200, "went forward by 14400 s"),
            (0, "went back by 7200 s"),
        ):
            before = await taken()

            async def shown(told: str = f"degraded: {words}") -> bool:
                return (await clock()).startswith(told)

            await eventually(shown, 20, "health says that the clock was set")
            await eventually(goes_on, 20, "ticks are taken")
            assert await minutes()
