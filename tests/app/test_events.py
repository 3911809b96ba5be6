"""Events of a real daemon: what happened to the feed and to the model, also after a restart."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.daemon import RunningDaemon, eventually, running
from volsvc.domain import NS, format_time

START_S = 1_767_600_000
# Rows after which trades are missing, each more than a feed may deliver late.
HOLES = (100, 250)


def recording(path: Path, rows: int) -> None:
    """Write a trade a second, with holes in the ids."""
    lines = ["symbol,time,price,trade_id"]
    for number in range(rows):
        missing = 1_000 * sum(number >= hole for hole in HOLES)
        time = format_time((START_S + number) * NS)
        lines.append(f"BTC-USD,{time},{100 + number % 7 / 100},{number + missing}")
    path.write_text("\n".join(lines))


async def events(daemon: RunningDaemon, kind: str, count: int) -> list[dict[str, Any]]:
    """Return the events of a kind once there are so many."""
    found: list[dict[str, Any]] = []

    async def told() -> bool:
        nonlocal found
        found = (await daemon.get(f"/events?kind={kind}"))["rows"]
        return len(found) >= count

    await eventually(told, 30, f"{count} events of kind {kind}")
    return found


async def test_events_outlive_the_daemon(tmp_path: Path) -> None:
    """Gaps are told once, whatever a kill has repeated, and each start of the model is one."""
    await outlive_the_daemon(tmp_path)


async def outlive_the_daemon(folder: Path, env: Mapping[str, str] | None = None) -> None:
    """Kill a daemon between two gaps, and find both after the next start."""
    path = folder / "ticks.csv"
    recording(path, 400)
    expected = [
        {
            "time": format_time((START_S + hole) * NS),
            "kind": "gap",
            "symbol": "BTC-USD",
            "fields": {"gaps": number},
        }
        for number, hole in enumerate(HOLES, 1)
    ]
    arguments = ("--path", str(path), "--speed", "60")
    async with running(*arguments, env=env, cwd=folder) as daemon:
        assert await events(daemon, "gap", 1) == expected[:1]
        await daemon.stop(signal.SIGKILL)
    async with running(*arguments, env=env, cwd=folder) as daemon:
        assert await events(daemon, "gap", 2) == expected
        starts = await events(daemon, "model", 2)
        assert [row["fields"]["kind"] for row in starts] == ["start", "start"]
        symbol = await daemon.get("/events?symbol=BTC-USD")
        assert (symbol["rows"], symbol["next"]) == (expected, None)
        assert await daemon.stop() == 0
