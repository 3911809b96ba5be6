"""A daemon with the in-process bus goes on where it has been, whatever ended it."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

import pytest

from tests import stored
from tests.daemon import command, running
from tests.kafka.fleet import caught_up, undisturbed

# Some seconds of work are interrupted this often.
KILLS = 30
SEED = 26
SPEED = "60"
WITHIN_S = 60.0


async def killed_at_random(recording: Path, folder: Path, kills: int) -> None:
    """Replay a recording in processes of which each is killed after a random time."""
    rng = random.Random(SEED)
    for _ in range(kills):
        async with running("--path", str(recording), "--speed", SPEED, cwd=folder) as daemon:
            await asyncio.sleep(rng.uniform(0, 1.2))
            await daemon.stop(signal.SIGKILL)


async def finished(recording: Path, folder: Path, newest: dict[str, str]) -> None:
    """Replay a recording to its end, and stop."""
    async with running("--path", str(recording), "--speed", "max", cwd=folder) as daemon:
        await caught_up(daemon, newest, WITHIN_S)
        assert await daemon.stop() == 0


@pytest.mark.long
async def test_kills_at_random_leave_no_trace(recording: Path, tmp_path: Path) -> None:
    """States, digests, and the minutes with their forecasts are those of a run that goes on."""
    digests, newest = undisturbed(recording)
    once, often = tmp_path / "once", tmp_path / "often"
    for folder in (once, often):
        folder.mkdir()
    await finished(recording, once, newest)
    await killed_at_random(recording, often, KILLS)
    reached = stored.newest(often / "var")
    assert any(reached[symbol] != at for symbol, at in newest.items()), "no kill came early enough"
    await finished(recording, often, newest)
    run = tmp_path / "often.ndjson"
    stored.write_digests(often / "var", run)
    code, out, err = await command("verify", str(digests), str(run), cwd=tmp_path)
    assert code == 0, out + err
    assert out.startswith("identical: "), out
    for symbol in newest:
        found, whole = (stored.minutes(folder / "var", symbol) for folder in (often, once))
        assert len(whole.rows) >= 18
        assert found.rows.tobytes() == whole.rows.tobytes()
        assert found.models == whole.models
