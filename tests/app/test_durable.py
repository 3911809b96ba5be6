"""A daemon with the in-process bus goes on where it has been, whatever ended it."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import stored
from tests.daemon import command, running
from tests.kafka.fleet import caught_up, undisturbed
from volsvc.domain import NS, parse_time
from volsvc.sources.generated_past import past_bars
from volsvc.sources.generator import GeneratorSpec
from volsvc.transport.features_record import STATE_HEADER

# Some seconds of work are interrupted this often.
KILLS = 30
SEED = 26
SPEED = "60"
WITHIN_S = 60.0


async def killed_at_random(
    recording: Path, folder: Path, kills: int, *options: str, longest_s: float = 1.2
) -> None:
    """Replay a recording in processes of which each is killed after a random time."""
    rng = random.Random(SEED)
    for _ in range(kills):
        arguments = ("--path", str(recording), "--speed", SPEED, *options)
        async with running(*arguments, cwd=folder) as daemon:
            await asyncio.sleep(rng.uniform(0, longest_s))
            await daemon.stop(signal.SIGKILL)


async def finished(recording: Path, folder: Path, newest: dict[str, str], *options: str) -> None:
    """Replay a recording to its end, and stop."""
    arguments = ("--path", str(recording), "--speed", "max", *options)
    async with running(*arguments, cwd=folder) as daemon:
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


def history(folder: Path, recording: Path, symbols: Sequence[str]) -> str:
    """Return a file of two days of bars before a recording, and of some minutes after it begins."""
    with gzip.open(recording) as file:
        begins = parse_time(json.loads(file.readline())["time"])
    spec = GeneratorSpec(tuple(symbols), 1, begins + 300 * NS)
    lines = ["symbol,ts,open,high,low,close,volume"]
    for symbol in symbols:
        minutes, values = past_bars(symbol, spec, 2)
        for minute, row in zip(minutes.tolist(), values.tolist(), strict=True):
            lines.append(f"{symbol},{minute * 60},{','.join(map(str, row))}")
    path = folder / "history.csv"
    path.write_text("\n".join(lines))
    return str(path)


async def test_kills_leave_no_trace_after_a_warm_start(recording: Path, tmp_path: Path) -> None:
    """Symbols with a history are warm at once, and their states agree to the last bit."""
    _, newest = undisturbed(recording)
    options = ("--history", history(tmp_path, recording, list(newest)))
    once, often = tmp_path / "once", tmp_path / "often"
    for folder in (once, often):
        folder.mkdir()
    await finished(recording, once, newest, *options)
    await killed_at_random(recording, often, 5, *options, longest_s=3)
    assert any(
        reached != newest.get(name) for name, reached in stored.newest(often / "var").items()
    )
    await finished(recording, often, newest, *options)
    states, others = (stored.records(folder / "var") for folder in (once, often))
    for symbol in newest:
        quality = json.loads(states[symbol].value or b"")["quality"]
        assert (quality["verdict"], quality["warmed"]["source"]) == ("ok", "file")
        assert 2_870 < quality["warmed"]["minutes"] <= 2_880
        contents = [dict(one[symbol].headers)[STATE_HEADER] for one in (states, others)]
        assert contents[0] == contents[1]
        found, whole = (stored.minutes(folder / "var", symbol) for folder in (often, once))
        assert len(whole.rows) >= quality["warmed"]["minutes"] + 18
        assert found.rows.tobytes() == whole.rows.tobytes()
